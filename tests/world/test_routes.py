"""Every route of the running emulator, asked without a signature, with a wrong one, and by a role without rights."""

import http.client
import json
from collections.abc import Iterator

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sandbox.world import Sandbox
from tests.sandbox.test_routes import METHODS, routes
from tests.world.conftest import make_lambda

pytestmark = pytest.mark.world
HOME = "eu-west-1"
KEYS = """
import os
def handler(event, context):
    return [os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")]
"""


@pytest.fixture(scope="module")
def connection(empty: Sandbox) -> Iterator[http.client.HTTPConnection]:
    opened = http.client.HTTPConnection(empty.endpoint.removeprefix("http://"), timeout=30)
    yield opened
    opened.close()


def ask(connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]) -> int:
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def by(credentials: Credentials, service: str, connection: http.client.HTTPConnection, method: str, path: str
       ) -> dict[str, str]:
    request = AWSRequest(method, f"http://{connection.host}:{connection.port}{path}")
    SigV4Auth(credentials, service, HOME).add_auth(request)
    return dict(request.headers.items())


def test_each_route_is_refused_without_a_signature(connection: http.client.HTTPConnection) -> None:
    statuses = {ask(connection, method, before + path, {}) for path in sorted(set(routes("app.py")))
                for before in ("", f"/_public/{HOME}") for method in METHODS}
    assert statuses | {ask(connection, "GET", path, {}) for path in sorted(set(routes()))} == {403}


def test_each_route_is_refused_with_a_wrong_signature(empty: Sandbox, connection: http.client.HTTPConnection) -> None:
    forged = Credentials(empty.state.access_key, "guessed")
    for path in sorted(set(routes("app.py"))):
        for method in ("GET", "POST"):
            assert ask(connection, method, path, by(forged, "s3", connection, method, path)) >= 400, (method, path)


@pytest.mark.parametrize("service", ["s3", "execute-api"])
def test_each_route_is_refused_to_a_role_without_rights(
    empty: Sandbox, connection: http.client.HTTPConnection, service: str
) -> None:
    name = f"nobody-{service}"
    make_lambda(empty, HOME, name, KEYS)
    keys = json.loads(empty.client("lambda", HOME).invoke(FunctionName=name)["Payload"].read())
    for path in sorted(set(routes("app.py"))):
        for method in ("GET", "POST"):
            headers = by(Credentials(*keys), service, connection, method, path)
            assert ask(connection, method, path, headers) >= 400, (method, path)
