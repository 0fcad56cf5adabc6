"""The Lambdas of schedules: trigger, time-out, memory, network and permissions of each."""

from chalicelib.engine.deployment import ALERT, COORDINATION_TABLE, JOURNAL, REGIONAL_TABLE, Lambda, Permission, queue

LAMBDAS = (
    Lambda(
        name="schedules.tick",
        timeout_seconds=55,
        memory_mb=512,
        permissions=(
            Permission("Agree", ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"), COORDINATION_TABLE),
            Permission("Start", ("sqs:SendMessage",), [queue("schedule-runs"), queue("schedule-reconciles")]),
            ALERT,
            Permission(
                "JournalAndAlerts",
                ("dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"),
                REGIONAL_TABLE,
            ),
        ),
    ),
    Lambda(
        name="schedules.reconcile",
        timeout_seconds=55,
        memory_mb=512,
        permissions=(
            Permission(
                "Agree",
                ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"),
                COORDINATION_TABLE,
            ),
            Permission("Start", ("sqs:SendMessage",), [queue("schedule-runs"), queue("schedule-reconciles")]),
            Permission(
                "Receive",
                ("sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"),
                queue("schedule-reconciles"),
            ),
            JOURNAL,
        ),
    ),
    Lambda(
        name="schedules.work",
        timeout_seconds=900,
        memory_mb=1024,
        permissions=(
            Permission(
                "Agree",
                ("dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem"),
                COORDINATION_TABLE,
            ),
            Permission("FollowUp", ("sqs:SendMessage",), queue("schedule-runs")),
            Permission(
                "Receive",
                ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"),
                queue("schedule-runs"),
            ),
            Permission("JournalAndOutput", ("dynamodb:PutItem",), REGIONAL_TABLE),
            Permission("OnQueue", ("sqs:SendMessage",), "{task-queues}"),
            Permission("OnEcs", ("ecs:RunTask",), "{ecs-definition}"),
            Permission("OnEcsTasks", ("ecs:DescribeTasks", "ecs:StopTask"), "{ecs-tasks}"),
            Permission(
                "OnEcsRoles",
                ("iam:PassRole",),
                "{ecs-roles}",
                {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            ),
            Permission("OnSsm", ("ssm:SendCommand",), "{ssm-document}"),
            Permission(
                "OnSsmInstances",
                ("ssm:SendCommand",),
                "{ssm-instances}",
                {"StringEquals": {"ssm:resourceTag/{ssm-tag}": "{ssm-value}"}},
            ),
            Permission(
                "OnSsmCommands",
                ("ssm:CancelCommand", "ssm:DescribeInstanceInformation", "ssm:GetCommandInvocation"),
                "{ssm-any}",
            ),
        ),
    ),
    Lambda(
        name="schedules.status",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(Permission("Read", ("dynamodb:Query",), COORDINATION_TABLE),),
    ),
    Lambda(
        name="schedules.why",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(
            Permission("Read", ("dynamodb:GetItem", "dynamodb:Query"), COORDINATION_TABLE),
            Permission("ReadOutput", ("dynamodb:Query",), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="schedules.pause",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(
            Permission("Agree", ("dynamodb:GetItem", "dynamodb:PutItem"), COORDINATION_TABLE),
            JOURNAL,
        ),
    ),
    Lambda(
        name="schedules.resume",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(
            Permission("Agree", ("dynamodb:DeleteItem", "dynamodb:GetItem"), COORDINATION_TABLE),
            JOURNAL,
        ),
    ),
    Lambda(
        name="schedules.run",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(
            Permission("Read", ("dynamodb:GetItem",), COORDINATION_TABLE),
            Permission("Start", ("sqs:SendMessage",), queue("schedule-runs")),
            JOURNAL,
        ),
    ),
    Lambda(
        name="schedules.prune",
        timeout_seconds=300,
        memory_mb=256,
        permissions=(
            Permission("Agree", ("dynamodb:DeleteItem", "dynamodb:Scan"), COORDINATION_TABLE),
            JOURNAL,
        ),
    ),
)
