"""A Lambda service that answers as AWS does, byte for byte, and a client of it."""

import base64
import io
import json
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.config import fleet
from commands.operate import client
from testing.paging import EmptyFirstPage

FLEET = fleet.parse(
    'name = "acme"\nregions = [{name = "eu-west-1"}, {name = "us-east-1"}]\ncoordination = {regions = ["eu-west-1"]}'
)
TAIL = "START RequestId: 1 Version: $LATEST\nit said something\nEND RequestId: 1"


class NotThere(ClientError):
    """What boto3 raises for a function that is not there."""

    def __init__(self) -> None:
        super().__init__({"Error": {"Code": "ResourceNotFoundException", "Message": "no"}}, "Invoke")


class Lambdas:
    """The Lambda client of one region: functions by name, and what was asked of them."""

    class exceptions:
        ResourceNotFoundException = NotThere

    def __init__(self, functions: dict[str, Callable[[Any], Any]], tail: str = TAIL, broken: bool = False) -> None:
        self.functions = functions
        self.tail = tail
        self.broken = broken
        self.asked: list[Any] = []

    def invoke(self, **asked: str) -> dict[str, Any]:
        if asked["FunctionName"] not in self.functions:
            raise NotThere
        payload = json.loads(asked["Payload"])
        self.asked.append(payload)
        body = json.dumps(self.functions[asked["FunctionName"]](payload)).encode()
        said = {"Payload": io.BytesIO(body), "LogResult": base64.b64encode(self.tail.encode()).decode(),
                "ResponseMetadata": {"RequestId": "1"}}
        return said | ({"FunctionError": "Unhandled"} if self.broken else {})

    def list_functions(self) -> Any:
        return {"Functions": [{"FunctionName": name} for name in (*self.functions, "somebody-elses")]}


class Logs:
    """CloudWatch Logs with three lines of request 1."""

    def filter_log_events(self, **asked: Any) -> Any:
        assert asked["logGroupName"] == "/aws/lambda/acme-prod-schedules_why" and asked["filterPattern"] == '"1"'
        return {"events": [{"message": f"line {number}\n"} for number in range(3)]}


class Silent:
    """A region that is gone."""

    exceptions = Lambdas.exceptions

    def __init__(self, error: Exception) -> None:
        self.error = error

    def invoke(self, **asked: Any) -> Any:
        raise self.error


def made(home: Any, other: Any = None) -> client.OperationClient:
    clients = {("lambda", "eu-west-1"): home, ("lambda", "us-east-1"): other, ("logs", "eu-west-1"): Logs()}
    return client.OperationClient(
        FLEET, "prod", lambda service, region: EmptyFirstPage(service, clients[service, region]), "AWS")


def planned(report: dict[str, Any]) -> dict[str, Any]:
    return {"operation": "x", "status": "planned", "message": "", "plan": {"report": report}, "digest": "0"}


DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not you"}}, "Invoke")
DOWN = ClientError({"Error": {"Code": "503", "Message": "Down"}}, "Invoke")
DOWN.response["ResponseMetadata"] = {"HTTPStatusCode": 503}  # type: ignore[typeddict-item]
GONE = EndpointConnectionError(endpoint_url="https://lambda.eu-west-1.amazonaws.com")
