"""The client of the deployed operations, of the sandbox while one is up, else of AWS with the user's credentials."""

import base64
import difflib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, HTTPClientError

from chalicelib import foreign
from chalicelib.aws.client import INACTIVE, error_code, pages
from chalicelib.config.declared import Fleet
from chalicelib.config.fleet import load
from chalicelib.registry import CAPABILITIES
from commands import roots
from commands.deploy import account
from commands.errors import UsageError

# An operation may take as long as Lambda lets it (15 min); invoking it twice instead of waiting would be worse.
# Nothing is sent meanwhile, and a NAT gateway forgets a connection that is idle for 350 s. So TCP keeps it alive.
_CONFIG = Config(connect_timeout=3, read_timeout=910, retries={"total_max_attempts": 1}, tcp_keepalive=True)
_KEEPALIVE_SECONDS = 60
# What only reads has 30 s in Lambda, so a region that takes longer does not answer, and another one is asked.
_READING = _CONFIG.merge(Config(read_timeout=60))

# Until an inactive function in a VPC is called again: 60 s in all.
_WAKE_SECONDS = (5, 10, 15, 30)

# The stage of `deploy --sandbox`, unless it names another.
SANDBOX_STAGE = "sandbox"
_AWS = "AWS"

Clients = Callable[[str, str], Any]


class Answer(NamedTuple):
    """The answer of an operation, with `outcome` as in `chalicelib.engine.operation`, the error if it broke, and its
    log.

    `passed_over` has a line for each region that was asked before this one and did not answer.
    """

    region: str
    outcome: dict[str, Any]
    error: str
    log: list[str]
    passed_over: tuple[str, ...] = ()


def _woken(call: Callable[[], Any]) -> Any:
    """The answer of `call`, which is made again for a minute while the function is inactive.

    Lambda takes the network interfaces of a function in a VPC away when it has been idle for weeks. The next call
    fails, has begun nothing, and makes Lambda put them back ("Lambda function states", developer guide).
    """
    for pause in (*_WAKE_SECONDS, None):
        try:
            return call()
        except ClientError as error:
            if error_code(error) != INACTIVE or pause is None:
                raise
            time.sleep(pause)
    raise AssertionError("the last call returns or raises")


class OperationClient:
    """Invokes operations of one stage of the fleet. `clients(service, region)` gives boto3 clients, and `reading` those
    for what only reads, which need not wait as long."""

    def __init__(
        self, fleet: Fleet, stage: str, clients: Clients, place: str, reading: Clients | None = None
    ) -> None:
        self.fleet = fleet
        self.stage = stage
        self.clients = clients
        self.place = place
        self.reading = reading or clients

    def invoke(
        self, operation: str, payload: dict[str, Any], region: str = "", *, tail: bool = True, reads: bool = False
    ) -> Answer:
        """Runs `operation` (as in `schedules.pause`) in `region` (default home). `reads` says that it changes nothing.
        `UsageError` gives the reason of a failure.
        """
        region = region or self.fleet.home
        function = f"{self.fleet.name}-{self.stage}-{operation.replace('.', '_')}"
        begin = time.time()
        with explained(f"{self.place}, {region}, {function}"):
            lambdas = (self.reading if reads else self.clients)("lambda", region)
            try:
                response = _woken(lambda: lambdas.invoke(
                    FunctionName=function, Payload=json.dumps(payload), LogType="Tail"))
            except lambdas.exceptions.ResourceNotFoundException:
                raise UsageError(self._unknown(lambdas, operation, region)) from None
            body = json.loads(response["Payload"].read() or "null")
            log = self._log(function, region, response, begin) if tail else []
        if "FunctionError" in response:
            return Answer(region, {}, _error(body), log)
        return Answer(region, body if isinstance(body, dict) else {"message": str(body)}, "", log)

    def ask(self, operation: str, payload: dict[str, Any], region: str = "", *, tail: bool = False) -> Answer:
        """Like `invoke`, in `region` or else in the first region, home first, that answers. Only for what changes
        nothing, because a region without an answer may still have carried out what it was asked.
        """
        if region:
            return self.invoke(operation, payload, region, tail=tail, reads=True)
        silent: list[str] = []
        for near in self.fleet.regions:
            try:
                answer = self.invoke(operation, payload, near.name, tail=tail, reads=True)
            except RegionUnavailable as silence:
                silent.append(str(silence))
            else:
                return answer._replace(passed_over=tuple(silent))
        raise UsageError(
            "\n".join([*silent, f"no region of {self.place} answered. Try again, or name one with --region"])
        )

    def operations(self, lambdas: Any) -> list[str]:
        """The operations that are deployed where the client `lambdas` looks."""
        return sorted(name for stage, name in self._deployed(lambdas) if stage == self.stage)

    def _deployed(self, lambdas: Any) -> list[tuple[str, str]]:
        """The stage and the operation of each of the fleet's functions there."""
        prefix = f"{self.fleet.name}-"
        names = [one["FunctionName"] for page in pages(lambdas, "list_functions") for one in page["Functions"]]
        parts = [name.removeprefix(prefix).rpartition("-") for name in names if name.startswith(prefix)]
        return [(stage, operation_name(function)) for stage, _, function in parts if stage]

    def _unknown(self, lambdas: Any, operation: str, region: str) -> str:
        known = self.operations(lambdas)
        if not known:
            return f"{self.place}, {region}: stage {self.stage!r} is not deployed; {self._not_deployed(lambdas)}"
        close = difflib.get_close_matches(operation, known, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{operation!r} is not an operation; {hint}There are: {', '.join(known)}"

    def _not_deployed(self, lambdas: Any) -> str:
        """The remedy, which is a deployment only where the stage's name is not a slip."""
        if self.place != _AWS:
            return "the sandbox has the regions that fleet.toml had at its start. End it, then ./lamp deploy --sandbox"
        if self.stage == SANDBOX_STAGE:
            return "that is the stage of a sandbox, and none is up on this machine. Start ./lamp deploy --sandbox"
        if there := sorted({stage for stage, _ in self._deployed(lambdas)}):
            return f"{self.fleet.name} has {', '.join(there)} there. Name one of them with --stage"
        return f"no stage of {self.fleet.name} is. Is this the right AWS account? ./lamp deploy --stage {self.stage}"

    def _log(self, function: str, region: str, response: dict[str, Any], begin: float) -> list[str]:
        """The lines of this invocation's log, the answer's own last 4 KB, or all of CloudWatch if those are cut."""
        tail = base64.b64decode(response.get("LogResult", "")).decode(errors="replace").splitlines()
        if not tail or tail[0].startswith("START "):
            return tail
        request = response["ResponseMetadata"]["RequestId"]
        try:
            lines = [event["message"].rstrip() for page in pages(
                self.clients("logs", region), "filter_log_events", logGroupName=f"/aws/lambda/{function}",
                startTime=int(begin * 1000), filterPattern=f'"{request}"') for event in page["events"]]
        except ClientError:
            # The group may not be there yet, or not for these eyes: the tail is what there is.
            return tail
        return lines or tail


def operation_name(function: str) -> str:
    """The operation of a Lambda, such as `health_checks.status` of `health_checks_status`."""
    for capability in CAPABILITIES:
        if function.startswith(f"{capability}_"):
            return f"{capability}.{function.removeprefix(f'{capability}_')}"
    return function


class RegionUnavailable(UsageError):
    """A region did not answer."""


class Running(msgspec.Struct, frozen=True):
    """The file by which a sandbox shows itself to other terminals."""

    endpoint: str
    access_key: str
    secret_key: str
    pid: int
    stage: str


def find(stage: str = "", region: str = "") -> OperationClient:
    """The client of `stage`, in the running sandbox if `stage` is its own or not given, else in AWS.

    `region` is what a user gave as `--region`, if anything. It must be one of fleet.toml.
    """
    fleet = load(roots.fleet() / "fleet.toml")
    check_region(fleet, region)
    running = _running()
    if running and stage in ("", running.stage):
        session, place = boto3.Session(running.access_key, running.secret_key), "the sandbox"
    elif stage:
        session, running, place = boto3.Session(), None, _AWS
    else:
        raise UsageError("no sandbox is up on this machine for this fleet. Name the stage, as in --stage prod, or "
                         "start ./lamp deploy --sandbox or ./lamp demo --stay")
    endpoint = running.endpoint if running else None

    def clients(config: Config) -> Clients:
        return cache(lambda service, region: kept_alive(
            session.client(service, region, endpoint_url=endpoint, config=config)))

    return OperationClient(fleet, stage or (running.stage if running else ""), clients(_CONFIG), place,
                           clients(_READING))


def kept_alive(made: Any) -> Any:
    """The client `made`, whose idle connections send a keep-alive each minute.

    botocore only turns keep-alives on. Linux and macOS begin them after two hours, which is too late for any NAT.
    """
    options = made._endpoint.http_session._socket_options
    for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL"):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), _KEEPALIVE_SECONDS))
    return made


def check_region(fleet: Fleet, region: str) -> None:
    """A `UsageError` if `region` is given and none of the fleet's. Nothing is asked of a region that is none."""
    known = [one.name for one in fleet.regions]
    if region and region not in known:
        close = difflib.get_close_matches(region, known, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"--region {region!r} is not a region of fleet.toml; {hint}There are: {', '.join(known)}")


def _running() -> Running | None:
    """The fleet's sandbox, if one was started and lives. (Sandbox.find asks more; that is not needed against AWS.)"""
    try:
        found = msgspec.json.decode(roots.published_sandbox().read_bytes(), type=Running)
        os.kill(found.pid, 0)
    except (OSError, msgspec.DecodeError):
        return None
    return found


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turns what boto3 raises into a `UsageError` that names `where` and the remedy. `RegionUnavailable` if nobody
    answered.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        kind = RegionUnavailable if _silent(error) else UsageError
        raise kind(f"{where}: {account.explain(error, '')}") from None


def _silent(error: ClientError | BotoCoreError) -> bool:
    if isinstance(error, ClientError):
        return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
    return isinstance(error, EndpointConnectionError | HTTPClientError)


def _error(body: Any) -> str:
    """The error of a Lambda in one line."""
    if not isinstance(body, dict):
        return foreign.line(str(body))
    return foreign.line(f"{body.get('errorType', 'error')}: {body.get('errorMessage', body)}")
