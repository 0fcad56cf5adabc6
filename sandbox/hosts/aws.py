"""The AWS CLI calls of a tunnel host and a gateway, for the instances of the sandbox.

    python -m sandbox.hosts.aws secretsmanager get-secret-value --secret-id NAME --version-stage AWSCURRENT ...

Knows three calls and refuses any other. Errors have the form that the CLI gives them. The address of AWS and the
caller's identity come from the environment. It signs its requests itself (signing.py), since a dozen hosts that import
boto3 at once take a second of CPU each.
"""

import argparse
import http.client
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from sandbox.hosts.signing import Identity, signed_headers

# "254: an error was returned by the service"; "253: something in the environment": return codes of the AWS CLI.
_REFUSED, _UNSENT, _USAGE = 254, 253, 252
_ATTEMPTS = 2
_TARGETS = {"secretsmanager": "secretsmanager", "ssm": "AmazonSSM"}


class Refused(Exception):
    """The service answered with an error."""


class Unsent(Exception):
    """No answer of the service."""


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("service")
    parser.add_argument("call")
    for name in ("region", "output", "secret-id", "version-stage", "name", "path", "query"):
        parser.add_argument(f"--{name}", default="")
    for name in ("cli-connect-timeout", "cli-read-timeout"):
        parser.add_argument(f"--{name}", type=int, default=5)
    return parser.parse_args(words)


def _secret(said: argparse.Namespace) -> str:
    answer = _call(said, "GetSecretValue", SecretId=said.secret_id, VersionStage=said.version_stage)
    return json.dumps({name: answer[name] for name in ("SecretString", "VersionId") if name in answer})


def _parameter(said: argparse.Namespace) -> str:
    answer = _call(said, "GetParameter", Name=said.name)
    return json.dumps({"Parameter": {name: answer["Parameter"][name] for name in ("Name", "Value")}})


def _parameters(said: argparse.Namespace) -> str:
    """`--query 'Parameters[].Value' --output text` prints values side by side, each as it is."""
    values: list[str] = []
    page: dict[str, Any] = {"NextToken": ""}
    while "NextToken" in page:
        token = {"NextToken": page["NextToken"]} if page["NextToken"] else {}
        page = _call(said, "GetParametersByPath", Path=said.path, **token)
        values += [one["Value"] for one in page["Parameters"]]
    return "\t".join(values)


_CALLS: dict[tuple[str, str], Callable[[argparse.Namespace], str]] = {
    ("secretsmanager", "get-secret-value"): _secret, ("ssm", "get-parameter"): _parameter,
    ("ssm", "get-parameters-by-path"): _parameters}


def _call(said: argparse.Namespace, operation: str, **parameters: str) -> Any:
    """The service's answer to `operation`, tried again once. `Refused` with its error, `Unsent` without an answer."""
    body = json.dumps(parameters).encode()
    for left in reversed(range(_ATTEMPTS)):
        try:
            status, answer = _post(said, operation, body)
        except (OSError, http.client.HTTPException) as error:
            if not left:
                raise Unsent(f"Could not connect to the endpoint URL: {error}") from None
            continue
        if status == http.HTTPStatus.OK:
            return answer
        if status < http.HTTPStatus.INTERNAL_SERVER_ERROR or not left:
            break
    # "x-amzn-errortype" and "__type" may carry a namespace before "#".
    code = str(answer.get("__type", status)).rpartition("#")[2]
    text = answer.get("message") or answer.get("Message") or ""
    raise Refused(f"An error occurred ({code}) when calling the {operation} operation: {text}")


def _post(said: argparse.Namespace, operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
    address = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    identity = Identity(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"],
                        os.environ.get("AWS_SESSION_TOKEN", ""))
    headers = {"Host": address.netloc, "Content-Type": "application/x-amz-json-1.1",
               "X-Amz-Target": f"{_TARGETS[said.service]}.{operation}"}
    connection = http.client.HTTPConnection(address.netloc, timeout=said.cli_connect_timeout)
    try:
        connection.connect()
        connection.sock.settimeout(said.cli_read_timeout)
        connection.request("POST", "/", body, signed_headers(identity, said.service, said.region, headers, body))
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if data else {}
    except ValueError as error:
        raise Unsent(f"the answer is not JSON: {error}") from None
    finally:
        connection.close()


def main(words: Sequence[str]) -> int:
    """As on the command line. The exit status."""
    try:
        said = arguments(words)
        call = _CALLS[said.service, said.call]
    except (argparse.ArgumentError, KeyError) as error:
        print(f"the sandbox's aws does not know this: {error}", file=sys.stderr)
        return _USAGE
    try:
        print(call(said))
    except Refused as error:
        print(f"\n{error}", file=sys.stderr)
        return _REFUSED
    except Unsent as error:
        print(f"\n{error}", file=sys.stderr)
        return _UNSENT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
