"""The Lambdas of tasks: trigger, time-out, memory, network and permissions of each."""

from chalicelib.engine.deployment import JOURNAL, REGIONAL_TABLE, Lambda, Permission

LAMBDAS = (
    Lambda(
        name="tasks.work",
        timeout_seconds=900,
        memory_mb=512,
        handler="worker:handle",
        permissions=(
            Permission(
                "Remember",
                (
                    "dynamodb:BatchGetItem",
                    "dynamodb:DeleteItem",
                    "dynamodb:PutItem",
                    "dynamodb:Query",
                    "dynamodb:UpdateItem",
                ),
                REGIONAL_TABLE,
            ),
            Permission(
                "Receive",
                ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"),
                "{task-queues}",
            ),
            Permission("Send", ("sqs:SendMessage",), "{task-queues}"),
            Permission("Bury", ("sqs:SendMessage",), "{task-dead}"),
        ),
    ),
    Lambda(
        name="tasks.status",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(
            Permission("Read", ("sqs:GetQueueAttributes",), "{all-queues}"),
            Permission("Age", ("cloudwatch:GetMetricData",), "*"),
        ),
    ),
    Lambda(
        name="tasks.peek",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(Permission("Look", ("sqs:ChangeMessageVisibility", "sqs:ReceiveMessage"), "{all-queues}"),),
    ),
    Lambda(
        name="tasks.redrive",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(
            Permission(
                "Take", ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"), "{all-dead}"
            ),
            Permission("Send", ("sqs:SendMessage",), "{all-live}"),
            JOURNAL,
        ),
    ),
)
