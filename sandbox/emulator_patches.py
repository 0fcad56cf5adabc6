"""The changes of ministack before it starts, each with its reason.

A change names the symbol and its required parameters. Another ministack than the pinned one stops the start-up with the
name of the moved symbol, instead of behaving a little differently.
"""

import hashlib
import inspect
import json
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sandbox.auth_middleware import speaks_xml, xml_error
from sandbox.faults import REFUSED, THROTTLED, Faults
from sandbox.route53.twin import Twin

if TYPE_CHECKING:
    from sandbox.compute.reconciler import Hypervisor
    from sandbox.triggers import Triggers

VERSION = "1.5.33"
# Where the changes are; each of these registers its own when it is imported.
MODULES = ("routes", "lambdas", "triggers", "replication", "cloudformation", "batches", "recursion", "conditions",
           "embedded_metrics", "item_keys", "bucket_owners", "dns", "compute.ec2", "compute.elb", "compute.ssm",
           "compute.autoscaling", "compute.membership", "compute.authorization")

Build = Callable[[Any, "Context"], Any]


class Moved(Exception):
    """ministack is not what these changes were written for."""


class Context:
    """The facts of the run for the changes."""

    def __init__(
        self, faults: Faults, secret: str, mark: str, runtime: str, twin: Twin, hypervisor: "Hypervisor",
        triggers: "Triggers",
    ) -> None:
        self.faults = faults
        self.triggers = triggers
        self.twin = twin
        self.secret = secret
        self.mark = mark
        self.runtime = runtime
        self.hypervisor = hypervisor


class Change:
    """One replaced symbol of ministack."""

    def __init__(self, module: str, symbol: str, parameters: str, reason: str, build: Build) -> None:
        self.module = module
        self.symbol = symbol
        self.parameters = tuple(parameters.split())
        self.reason = reason
        self.build = build

    def apply(self, context: Context) -> None:
        """Check the symbol and replace it."""
        module = import_module(f"ministack.{self.module}")
        original = getattr(module, self.symbol, None)
        self._check(original)
        replacement = self.build(original, context)
        replacement.lamplighter = self.reason
        setattr(module, self.symbol, replacement)

    def verify(self) -> None:
        """Raise `Moved` unless the replacement is in place."""
        if getattr(getattr(import_module(f"ministack.{self.module}"), self.symbol), "lamplighter", "") != self.reason:
            raise Moved(f"ministack.{self.module}.{self.symbol} was not replaced ({self.reason})")

    def _check(self, original: object) -> None:
        if original is None:
            raise Moved(f"ministack.{self.module} has no {self.symbol} ({self.reason}); install ministack=={VERSION}")
        found = tuple(inspect.signature(original).parameters) if callable(original) else ()
        if found != self.parameters:
            raise Moved(f"ministack.{self.module}.{self.symbol} takes {found}, not {self.parameters} ({self.reason}); "
                        f"install ministack=={VERSION}")


CHANGES: list[Change] = []


def change(module: str, symbol: str, parameters: str, reason: str) -> Callable[[Build], Build]:
    """Register the decorated builder. It gets the original and returns its replacement."""
    def register(build: Build) -> Build:
        CHANGES.append(Change(module, symbol, parameters, reason, build))
        return build
    return register


def apply(context: Context) -> None:
    """All changes. Raises `Moved` when one does not fit."""
    for name in MODULES:
        import_module(f"sandbox.{name}")
    for one in CHANGES:
        one.apply(context)


def verify() -> None:
    """The start-up self-test. It checks the pinned version, and every change. Raises `Moved`."""
    found = version("ministack")
    if found != VERSION:
        raise Moved(f"ministack is {found}; the sandbox needs ministack=={VERSION}")
    for one in CHANGES:
        one.verify()


@change("core.iam_actions", "extract_iam_action", "service method path headers body query_params",
        "SQS authorizes a batch call as the single one (service authorization reference, Amazon SQS)")
def actions(original: Any, context: Context) -> Any:
    single = ("SendMessage", "DeleteMessage", "ChangeMessageVisibility")
    batches = {f"sqs:{name}Batch": f"sqs:{name}" for name in single}

    def extract(
        service: str, method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> str | None:
        found: str | None = original(service, method, path, headers, body, query_params)
        return batches.get(found, found) if found else found

    return extract


@change("services.cloudformation.provisioners", "_physical_name", "stack_name logical_id lowercase max_len seeded",
        "stacks of one name in several regions make roles of different names, as IAM is global")
def names(original: Any, context: Context) -> Any:
    from ministack.core.responses import get_region

    def name(stack_name: str, logical_id: str, **how: Any) -> str:
        front, _, suffix = str(original(stack_name, logical_id, **how)).rpartition("-")
        own = hashlib.sha256(f"{suffix}{get_region()}".encode()).hexdigest()[:len(suffix)]
        return f"{front}-{own if how.get('lowercase') else own.upper()}"

    return name


@change("services.lambda_svc", "_iter_all_esms", "", "a stopped region polls no queue")
def mappings(original: Any, context: Context) -> Any:
    def living() -> Any:
        return (entry for entry in original() if entry[1] not in context.faults.stopped)

    return living


@change("services.lambda_svc", "_execute_function", "func event", "a stopped region runs no Lambda")
def executions(original: Any, context: Context) -> Any:
    from ministack.services import lambda_svc

    def execute(func: dict[str, Any], event: Any) -> Any:
        region = lambda_svc._account_region_from_function_config(func.get("config") or func)[1]
        if region in context.faults.stopped:
            body = {"errorType": "ServiceUnavailable", "errorMessage": f"{region} is stopped"}
            return {"body": body, "error": True, "log": ""}
        return original(func, event)

    return execute


@change("app", "_dispatch_service_request", "method path headers body query_params request_id",
        "the emulator counts calls by their maker, and refuses them when a fault says so")
def dispatch(original: Any, context: Context) -> Any:
    from ministack import app

    async def handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any], request_id: str
    ) -> Any:
        action, region = _action(method, path, headers, body, query)
        kind = context.faults.verdict(region, action)
        if kind:
            answer = refusal(kind, f"{action} in {region}: asked for by a fault", headers)
        else:
            answer = await original(method, path, headers, body, query, request_id)
        principal = _principal(app.extract_access_key_id(headers, query))
        context.faults.count(principal, region, action, denied=_denied(action, answer),
                             found=_found(action, path, body, answer))
        return answer

    return handle


@change("core.iam_evaluator", "evaluate", "ctx policies limits",
        "a statement by which alone a call is allowed is known")
def evaluations(original: Any, context: Context) -> Any:
    def evaluate(ctx: Any, policies: Any, *limits: Any) -> Any:
        result = original(ctx, policies, *limits)
        if result.decision == "Allow" and ctx.principal_type == "AssumedRole":
            others = [[one for one in statements if one.sid != result.matched_sid] for statements in policies]
            if original(ctx, others, *limits).decision != "Allow":
                context.faults.need(str(ctx.principal_arn).rsplit("/", 1)[1], result.matched_sid, ctx.action)
        return result

    return evaluate


def _denied(action: str, answer: Any) -> bool:
    status, _, body = answer
    if action.startswith("s3:"):
        # S3 does not say what was missing, and to HEAD nothing at all.
        return status == 403 and (not body or b"<Code>AccessDenied</Code>" in body)
    return status in (400, 403) and isinstance(body, bytes) and b"is not authorized to perform" in body


def _found(action: str, path: str, asked: bytes, answer: Any) -> set[str]:
    """What a read has found: `table/partition key` of each item, the path of an object, the queue of a message."""
    status, _, body = answer
    if status != 200 or not isinstance(body, bytes):
        return set()
    if action == "s3:GetObject":
        return {path}
    if action not in ("dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan", "dynamodb:BatchGetItem",
                      "sqs:ReceiveMessage") or not body.startswith(b"{"):
        return set()
    said = json.loads(body)
    if action == "sqs:ReceiveMessage":
        return {json.loads(asked).get("QueueUrl", "").rpartition("/")[2]} if said.get("Messages") else set()
    if action == "dynamodb:BatchGetItem":
        return {f"{table}/{item['pk']['S']}" for table, items in said["Responses"].items() for item in items}
    items = [said["Item"]] if said.get("Item") else said.get("Items", ())
    return {f"{json.loads(asked)['TableName']}/{item['pk']['S']}" for item in items if "pk" in item}


def _action(
    method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
) -> tuple[str, str]:
    from ministack import app
    from ministack.core.iam_actions import extract_iam_action

    routing = app._routing_params(method, path, headers, body, query)
    service = app.detect_service(method, path, headers, routing)
    action = extract_iam_action(service, method, path, headers, body, routing) or f"{service}:Unknown"
    return action, app.extract_region(headers)


def _principal(key: str) -> str:
    """The name of the Lambda that uses `key`, `operator` for the user of this run."""
    from ministack.services import sts

    session = sts._sessions.get(key)
    return str(session["Arn"]).rsplit("/", 1)[1] if session else "operator"


_CODES = {THROTTLED: ("ThrottlingException", 400), REFUSED: ("ValidationError", 400)}


def refusal(kind: str, message: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """The answer of AWS to a throttled (400), failed (503) or wrong (400) call."""
    code, status = _CODES.get(kind, ("ServiceUnavailable", 503))
    if speaks_xml(headers):
        return status, {"Content-Type": "text/xml"}, xml_error(code, message)
    body = json.dumps({"__type": code, "message": message}).encode()
    return status, {"Content-Type": "application/x-amz-json-1.0", "x-amzn-errortype": code}, body
