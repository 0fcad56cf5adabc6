"""Every Lambda of the system on one screen: trigger -> operation. The rules and queues that trigger them are in
.chalice/resources.json; what each may do is in .chalice/policies/; what each does is in chalicelib/."""

from collections.abc import Callable
from typing import Any

from chalice import Chalice

from chalicelib.context import here
from chalicelib.databases import operations as databases
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Operation
from chalicelib.health_checks import operations as health_checks
from chalicelib.journal import operations as journal
from chalicelib.routing import operations as routing
from chalicelib.schedules import operations as schedules
from chalicelib.tasks import operations as tasks
from chalicelib.tasks import worker
from chalicelib.tunnels import controller
from chalicelib.tunnels.keys import operation as rotate

app = Chalice(app_name="lamplighter")


def bind(operation: Operation[Any]) -> None:
    """One Lambda for one operation, named after it: `schedules.tick` becomes `schedules_tick`."""

    def handler(event: object, context: Any) -> dict[str, Any]:
        return engine.run(operation, here(), event, context.aws_request_id)

    _register(operation.name.replace(".", "_"), handler)


def _register(name: str, handler: Callable[[object, Any], Any]) -> None:
    # Chalice names the Lambda's entry point `app.<function name>`.
    handler.__name__ = name
    globals()[name] = app.lambda_function(name=name)(handler)


for operation in (*schedules.ALL, *tasks.ALL, *routing.ALL, *health_checks.ALL, *controller.by_hand(), rotate.ROTATE,
                  *databases.ALL, *journal.ALL):
    bind(operation)
# A minute of the healer is many rounds of its operation.
_register("tunnels_heal", controller.handle)
# Batches of tasks go through Powertools' BatchProcessor instead of the loop: a task is the user's code, not a plan.
_register("tasks_work", worker.handle)
