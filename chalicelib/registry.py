"""The capabilities and their Lambdas. To know them costs no capability's import. To bind one costs that one's."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from chalicelib.engine.deployment import Lambda

CAPABILITIES = ("schedules", "tasks", "routing", "health_checks", "tunnels", "databases", "journal")

LambdaHandler = Callable[[object, Any], Any]

# What each context holds. A Lambda that may call another service uses the ports, too.
_WITHOUT_PORT = frozenset({"dynamodb", "sns", "sqs"})


def lambdas(capabilities: Sequence[str] = CAPABILITIES) -> Iterator[Lambda]:
    """The declarations of `capabilities`, in their order."""
    for capability in capabilities:
        declared: tuple[Lambda, ...] = import_module(f"chalicelib.{capability}.lambdas").LAMBDAS
        yield from declared


def handlers() -> dict[str, LambdaHandler]:
    """The entry points of app.py: of every Lambda where it is packaged, of this one alone where it runs.

    In Lambda the capability and the AWS SDK are imported at once: initialization has more CPU than an invocation. The
    AWS ports are imported with them if the Lambda may call one.
    """
    here = os.environ.get("_HANDLER", "").removeprefix("app.")
    if not here:
        return {each.function: _late(each.function) for each in lambdas()}
    if _declared(here).permissions:
        from chalicelib.aws import client

        client.sdk()
    if uses_ports(_declared(here)):
        import_module("chalicelib.aws.ports")
    return {here: handler(here)}


def uses_ports(declared: Lambda) -> bool:
    """Whether the Lambda may call a service other than tables, queues and alerts."""
    services = {action.partition(":")[0] for each in declared.permissions for action in each.actions.split()}
    return bool(services - _WITHOUT_PORT)


@cache
def handler(function: str) -> LambdaHandler:
    """The code of the Lambda `function`. Imports its capability, and no other."""
    target = _target(_declared(function))
    return _running(target) if _is_operation(target) else target


def is_read_only(name: str) -> bool:
    """Whether `name` (`schedules.why`) is an operation without actions, so that any region may be asked at any time."""
    targets = [_target(declared) for declared in lambdas() if declared.name == name]
    return any(_is_operation(target) and not target.act for target in targets)


def _is_operation(target: object) -> bool:
    # The module of an operation has imported this one. The runners have none, and start without the whole engine.
    engine = sys.modules.get("chalicelib.engine.operation")
    return engine is not None and isinstance(target, engine.Operation)


def _target(declared: Lambda) -> Any:
    """The operation or the function that a Lambda runs."""
    capability = declared.name.partition(".")[0]
    module, _, name = declared.handler.partition(":")
    target = getattr(import_module(f"chalicelib.{capability}.{module}"), name)
    if isinstance(target, tuple):
        [target] = [operation for operation in target if operation.name == declared.name]
    return target


def _late(function: str) -> LambdaHandler:
    return lambda event, context: handler(function)(event, context)


def _running(operation: Any) -> LambdaHandler:
    from chalicelib.context import here
    from chalicelib.engine.run import run

    return lambda event, context: run(operation, here(), event, context.aws_request_id)


def _declared(function: str) -> Lambda:
    own = [capability for capability in CAPABILITIES if function.startswith(f"{capability}_")]
    for declared in lambdas(own):
        if declared.function == function:
            return declared
    raise LookupError(f"no capability declares the Lambda {function!r}. Add it to the module lambdas of its capability")
