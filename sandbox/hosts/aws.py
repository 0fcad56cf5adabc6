"""The AWS CLI calls of a tunnel host and a gateway, by boto3, for the instances of the sandbox.

    python -m sandbox.hosts.aws secretsmanager get-secret-value --secret-id NAME --version-stage AWSCURRENT ...

Knows three calls and refuses any other. Errors have the form that the CLI gives them. The address of AWS and the
caller's identity come from the environment.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# "254: an error was returned by the service"; "253: something in the environment": return codes of the AWS CLI.
_REFUSED, _UNSENT, _USAGE = 254, 253, 252


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


def _secret(client: Any, said: argparse.Namespace) -> str:
    answer = client.get_secret_value(SecretId=said.secret_id, VersionStage=said.version_stage)
    return json.dumps({name: answer[name] for name in ("SecretString", "VersionId") if name in answer})


def _parameter(client: Any, said: argparse.Namespace) -> str:
    answer = client.get_parameter(Name=said.name)
    return json.dumps({"Parameter": {name: answer["Parameter"][name] for name in ("Name", "Value")}})


def _parameters(client: Any, said: argparse.Namespace) -> str:
    """`--query 'Parameters[].Value' --output text` prints values side by side, each as it is."""
    pages = client.get_paginator("get_parameters_by_path").paginate(Path=said.path)
    return "\t".join(one["Value"] for page in pages for one in page["Parameters"])


_CALLS: dict[tuple[str, str], Callable[[Any, argparse.Namespace], str]] = {
    ("secretsmanager", "get-secret-value"): _secret, ("ssm", "get-parameter"): _parameter,
    ("ssm", "get-parameters-by-path"): _parameters}


def main(words: Sequence[str]) -> int:
    """As on the command line. The exit status."""
    try:
        said = arguments(words)
        call = _CALLS[said.service, said.call]
    except (argparse.ArgumentError, KeyError) as error:
        print(f"the sandbox's aws does not know this: {error}", file=sys.stderr)
        return _USAGE
    config = Config(connect_timeout=said.cli_connect_timeout, read_timeout=said.cli_read_timeout, proxies={},
                    retries={"total_max_attempts": 2, "mode": "standard"})
    try:
        print(call(boto3.client(said.service, region_name=said.region, config=config), said))
    except ClientError as error:
        print(f"\n{error}", file=sys.stderr)  # "An error occurred (Code) when calling the ..."
        return _REFUSED
    except BotoCoreError as error:
        print(f"\n{error}", file=sys.stderr)
        return _UNSENT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
