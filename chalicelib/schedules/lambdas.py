"""The Lambdas of schedules, one row each, and all that they may do."""

from chalicelib.config.workload import RESERVE_SECONDS, RUNNER_JOB_SECONDS
from chalicelib.engine.deployment import (
    ALERTING,
    JOURNAL,
    Invoked,
    Lambda,
    OwnQueue,
    Permission,
    Schedule,
    coordination,
    function,
    queue,
    regional,
)

RECORD = coordination("Record", "PutItem Query", "minutes", why="records the minute, and looks for a gap before it")
SEE_MINUTE = coordination("ReadMinute", "GetItem", "minutes", why="whether another region has started the minute")
SEE_PAUSES = coordination("ReadPauses", "Query", "paused", why="a paused job is not started")
SKIPS = coordination("Skips", "GetItem PutItem", "run#*", why="a run that is left out is recorded as such")
SEE_RUNS = coordination("ReadRuns", "BatchGetItem", "run#*", why="which runs are still missing")
SEE_RUN = coordination("ReadRun", "BatchGetItem", "lock", "minutes", "paused", "run#*",
                       why="the run, its minute, its job's lock and pause")
RUNS = coordination("Runs", "GetItem PutItem", "lock", "run#*", why="claims the run, and the lock of its job")
UNLOCK = coordination("Unlock", "DeleteItem", "lock", why="gives the job's lock back")
TAKEN = coordination("Taken", "GetItem PutItem", "taken-alert", why="one region tells of what all see")
HISTORY = coordination("ReadRuns", "Query", "minutes", "paused", "run#*", why="the last runs, minutes and pauses")
ONE_MINUTE = coordination("ReadMinute", "GetItem", "minutes", "paused", why="whether the minute was started")
LATER = coordination("ReadLater", "Query", "minutes", "run#*", why="the result of the minute")
SEE_PAUSE = coordination("ReadPause", "GetItem", "paused", why="whether the job is paused")
PAUSE = coordination("Pause", "PutItem", "paused", why="pauses the job")
UNPAUSE = coordination("Resume", "DeleteItem", "paused", why="ends the pause")
DROP_OLD = coordination("Prune", "DeleteItem Scan", why="every item ends one day, and a scan has no partition key")
OUTPUT = regional("Output", "PutItem", "output#*", why="the end of a run's output")
SEE_OUTPUT = regional("ReadOutput", "Query", "output#*", why="the end of a run's output")
REMEMBER = regional("Remember", "GetItem PutItem", "schedules", why="sees that the coordination table was restored")
TELL = regional("Tell", "PutItem", "alert-events#schedules", why="the tick tells what runs report")
TOLD = regional("Told", "DeleteItem PutItem Query", "alert-events#schedules", why="delivers what runs reported")

START = Permission("Start", "sqs:SendMessage", [queue("schedule-runs"), queue("schedule-reconciles")],
                   "one message starts a run, another looks after the minute")
RUN_NOW = Permission("Start", "sqs:SendMessage", queue("schedule-runs"), "one message starts a run")
_RECEIVE = "sqs:DeleteMessage sqs:GetQueueAttributes sqs:ReceiveMessage"
RECEIVE_MINUTES = Permission("Receive", _RECEIVE, queue("schedule-reconciles"), "the mapping polls as the Lambda")
RECEIVE_RUNS = Permission("Receive", f"sqs:ChangeMessageVisibility {_RECEIVE}", queue("schedule-runs"),
                          "the mapping polls as the Lambda, and a run that waits comes back later")

# The Lambda in which users' code runs. fleet.toml declares what its role may do.
RUNNER = "schedules_runner"
ON_LAMBDA = Permission("OnLambda", "lambda:InvokeFunction", function(RUNNER), "jobs with on=lambda run in the runner")
ON_QUEUE = Permission("OnQueue", "sqs:SendMessage", "{task-queues}", "jobs with on=queue")
ON_ECS = (
    Permission("OnEcs", "ecs:RunTask", "{ecs-definition}", "jobs with on=ecs",
               wildcard="a deployment of the task makes the next revision of its definition"),
    Permission("OnEcsTasks", "ecs:DescribeTasks ecs:StopTask", "{ecs-tasks}", "follows its tasks, ends late ones",
               wildcard="ECS chooses the ids of tasks, all of this cluster"),
    Permission("OnEcsRoles", "iam:PassRole", "{ecs-roles}", "the task runs with its declared roles",
               {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}),
)
ON_SSM = (
    Permission("OnSsm", "ssm:SendCommand", "{ssm-document}", "jobs with on=ssm"),
    Permission("OnSsmInstances", "ssm:SendCommand", "{ssm-instances}", "runs the command on one tagged instance",
               {"StringEquals": {"ssm:resourceTag/{ssm-tag}": "{ssm-value}"}},
               wildcard="instances come and go, and the condition limits them to the tag of fleet.toml"),
    Permission("OnSsmCommands", "ssm:CancelCommand ssm:DescribeInstanceInformation ssm:GetCommandInvocation",
               "{ssm-any}", "finds an instance, follows the command", wildcard="these calls have no resource"),
)

TICKED = Schedule(does="start the jobs that are due", retries=2, expires_seconds=3600,
                  harm="jobs of these minutes start late, by the sweep or by another region")
PRUNED = Schedule(expression="cron(17 * * * ? *)", does="delete what the coordination table no longer needs",
                  harm="the coordination table grows")
RUNS_QUEUE = OwnQueue(name="schedule-runs", batch=1, visibility_seconds=960, most_receives=100,
                      harm="due jobs do not run")
MINUTES_QUEUE = OwnQueue(name="schedule-reconciles", batch=10, visibility_seconds=90, most_receives=20,
                         harm="runs that were left undone stay so, and no standby takes over")

# name, seconds, MB, permissions
LAMBDAS = (
    Lambda("schedules.tick", 55, 512, (RECORD, SEE_PAUSES, SKIPS, TAKEN, START, REMEMBER, TOLD, *ALERTING),
           trigger=TICKED, handler="starting:ALL", reserved=3),
    Lambda("schedules.reconcile", 55, 512,
           (RECORD, SEE_MINUTE, SEE_PAUSES, SKIPS, SEE_RUNS, TAKEN, START, RECEIVE_MINUTES, REMEMBER, TELL, JOURNAL),
           trigger=MINUTES_QUEUE, handler="starting:ALL",
           loops_until="a minute is settled, or is given up after a day"),
    Lambda("schedules.work", 900, 256,
           (SEE_RUN, RUNS, UNLOCK, TAKEN, RUN_NOW, RECEIVE_RUNS, OUTPUT, TELL, JOURNAL, ON_LAMBDA, ON_QUEUE, *ON_ECS,
            *ON_SSM),
           trigger=RUNS_QUEUE, loops_until="a run ends by its time-out, and has no retry left"),
    Lambda("schedules.runner", RUNNER_JOB_SECONDS + RESERVE_SECONDS, 1024, (), trigger=Invoked(),
           handler="child.handler:handle", loops_until="a run has no retry left"),
    # With 1,769 MB it has a whole processor, for 128 reads at once.
    Lambda("schedules.status", 50, 1769, (HISTORY,)),
    Lambda("schedules.why", 30, 256, (ONE_MINUTE, LATER, SEE_OUTPUT)),
    Lambda("schedules.pause", 30, 256, (SEE_PAUSE, PAUSE, JOURNAL)),
    Lambda("schedules.resume", 30, 256, (SEE_PAUSE, UNPAUSE, JOURNAL)),
    Lambda("schedules.run", 30, 256, (SEE_PAUSE, RUN_NOW, JOURNAL)),
    Lambda("schedules.prune", 300, 256, (DROP_OLD, JOURNAL), trigger=PRUNED),
)
