"""The Lambdas of tasks, one row each, and all that they may do."""

from chalicelib.config.workload import LAMBDA_SECONDS
from chalicelib.engine.deployment import JOURNAL, FleetQueues, Invoked, Lambda, Permission, regional

ONCE = regional("Once", "DeleteItem PutItem UpdateItem", "once#*", why="work with a key is done once")
PERMITS = regional("Permits", "PutItem Query", "task-permits#*", why="tasks with a limit hold permits")
COUNTS = regional("Counts", "BatchGetItem PutItem", "task-message#*", why="how often a message was run, and waited")
RECEIVE = Permission(
    "Receive", "sqs:ChangeMessageVisibility sqs:DeleteMessage sqs:GetQueueAttributes sqs:ReceiveMessage",
    "{task-queues}", "the mapping polls as the Lambda, and a message that waits comes back later")
SEND = Permission("Send", "sqs:SendMessage", "{shared-task-queues}", "tasks that run here send tasks")
RUN = Permission("Run", "lambda:InvokeFunction", "{task-runner}", "tasks that are isolated run in the runner")
BURY = Permission("Bury", "sqs:SendMessage", "{task-dead}", "a task without retries left is a dead letter")
DEPTH = Permission("Read", "sqs:GetQueueAttributes", "{all-queues}", "the depth of each queue")
AGE = Permission("Age", "cloudwatch:GetMetricData", "*", "the age of the oldest message",
                 wildcard="GetMetricData has no resource")
LOOK = Permission("Look", "sqs:ChangeMessageVisibility sqs:ReceiveMessage", "{all-queues}", "shows messages")
TAKE = Permission("Take", "sqs:ChangeMessageVisibility sqs:DeleteMessage sqs:ReceiveMessage", "{all-dead}",
                  "takes dead letters out, once they are sent again")
SEND_BACK = Permission("Send", "sqs:SendMessage", "{all-live}", "brings dead letters back")

# The Lambda in which users' tasks run, unless fleet.toml shares the worker's. fleet.toml declares what it may do.
RUNNER = "tasks_runner"
# So much sooner than its worker it ends, if nothing else has ended it.
RUNNER_MARGIN_SECONDS = 15

CHAIN = "a chain of tasks is as long as fleet.toml lets it be"
SERVED = FleetQueues(harm="its tasks do not run")

# name, seconds, MB, permissions
LAMBDAS = (
    Lambda("tasks.work", 900, 512, (ONCE, PERMITS, COUNTS, RECEIVE, SEND, RUN, BURY), trigger=SERVED,
           handler="worker:handle", loops_until=CHAIN),
    Lambda("tasks.runner", LAMBDA_SECONDS - RUNNER_MARGIN_SECONDS, 1024, (), trigger=Invoked(),
           handler="child.handler:handle", loops_until=CHAIN),
    Lambda("tasks.status", 30, 256, (DEPTH, AGE)),
    Lambda("tasks.peek", 30, 256, (LOOK,)),
    Lambda("tasks.redrive", 30, 256, (TAKE, SEND_BACK, JOURNAL)),
)
