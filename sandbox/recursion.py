"""AWS's detection of recursive loops, for chains that go through SQS as well.

From "Use Lambda recursive loop detection to prevent infinite loops": a function that was invoked about 16 times in one
chain of requests is not invoked again, unless its `RecursiveLoop` is to allow it. ministack counts the hops of direct
invocations, and has the SDK of a Lambda send the count with each call. Here a message keeps the count of who sent it.

A template's `RecursiveLoop` and `ReservedConcurrentExecutions` are set here, since ministack leaves both out.

AWS counts each function by itself. This counts all hops of a chain, so it stops a chain of several functions earlier.
"""

import contextvars
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.emulator_patches import Context, change

# The system attribute of a message. AWS has the count in AWSTraceHeader.
_HOPS = "LamplighterHops"
# What AWS keeps for functions without a reservation.
_UNRESERVED = 100
_sender_hops: contextvars.ContextVar[int] = contextvars.ContextVar("lamplighter_sender_hops", default=0)


@change("core.iam_evaluator", "pin_request_caller", "headers query_params",
        "a message knows how many Lambdas of its chain came before it")
def sender(original: Any, context: Context) -> Any:
    from ministack.services import lambda_svc

    def pin(headers: dict[str, str], query_params: dict[str, Any] | None = None) -> None:
        original(headers, query_params)
        _sender_hops.set(lambda_svc._inbound_invoke_depth(headers))

    return pin


@change("services.sqs", "_build_send_sys_attrs", "now sys_attrs_input",
        "a message carries the hops of its chain")
def attributes(original: Any, context: Context) -> Any:
    def build(now: float, sys_attrs_input: dict[str, Any]) -> dict[str, Any]:
        return {**original(now, sys_attrs_input), _HOPS: _sender_hops.get()}

    return build


@change("services.cloudformation.provisioners", "_lambda_create", "logical_id props stack_name",
        "a template says whether a function may be in a loop, and how many executions are reserved for it")
def creation(original: Any, context: Context) -> Any:
    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        return _with_settings(original(logical_id, props, stack_name), {}, props)

    _handlers()["create"] = create
    return create


@change("services.cloudformation.provisioners", "_lambda_update",
        "physical_id old_props new_props stack_name logical_id", "a template says whether a function may be in a loop")
def updating(original: Any, context: Context) -> Any:
    def update(
        physical_id: str, old_props: dict[str, Any], new_props: dict[str, Any], stack_name: str,
        logical_id: str | None = None,
    ) -> Any:
        return _with_settings(original(physical_id, old_props, new_props, stack_name, logical_id), old_props, new_props)

    _handlers()["update"] = update
    return update


def _handlers() -> dict[str, Any]:
    from ministack.services.cloudformation import provisioners

    handlers: dict[str, Any] = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    return handlers


def _with_settings(made: Any, before: Mapping[str, Any], props: Mapping[str, Any]) -> Any:
    from ministack.services import lambda_svc

    function, wanted = lambda_svc._functions[made[0]], props.get("ReservedConcurrentExecutions")
    function["recursive_loop"] = props.get("RecursiveLoop", "Terminate")
    # CloudFormation compares two templates. What somebody else set stays.
    if wanted == before.get("ReservedConcurrentExecutions"):
        return made
    function["concurrency"] = None
    if wanted is not None:
        others = sum(lambda_svc._functions[name].get("concurrency") or 0 for name in list(lambda_svc._functions.keys()))
        if lambda_svc._ACCOUNT_CONCURRENCY_CAP - others - int(wanted) < _UNRESERVED:
            raise ValueError("Specified ReservedConcurrentExecutions for function decreases account's "
                             f"UnreservedConcurrentExecution below its minimum value of [{_UNRESERVED}].")
        function["concurrency"] = int(wanted)
    return made


def stopped(name: str, function: dict[str, Any], batch: Sequence[Mapping[str, Any]]) -> bool:
    """Whether AWS does not invoke `function` for this batch, as one of its messages has come round too often.

    Otherwise all that the invocation calls carries the hops of the longest chain.
    """
    from ministack.services import lambda_svc

    hops = 1 + max(int((message.get("sys") or {}).get(_HOPS, 0)) for message in batch)
    if lambda_svc._recursive_loop_drop(name, function, hops):
        return True
    lambda_svc._invoke_depth.set(hops)
    return False
