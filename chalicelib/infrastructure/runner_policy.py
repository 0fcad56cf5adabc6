"""The policy that a team declares for the role of the runner Lambda, in which its commands and Python jobs run. Pure.

The file is an IAM policy document. `${AWS::AccountId}`, `${AWS::Partition}`, `${AWS::Region}` and `${AWS::StackName}`
in it stand for the stack's own.
"""

import fnmatch
import json
import re
from collections.abc import Iterator
from typing import Any

from chalicelib.config.fleet import FleetError
from chalicelib.engine.deployment import COORDINATION_TABLE, REGIONAL_TABLE, arn, function, queue
from chalicelib.infrastructure import queues
from chalicelib.infrastructure.parts import Json, generated

# AWS allows 10,240 characters for all inline policies of a role, without blanks ("IAM and AWS STS quotas", user guide).
_MOST_CHARACTERS = 8_000
_KEYS = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"})
_PSEUDO = re.compile(r"\$\{(AWS::\w+)\}")
_KNOWN = frozenset({"AWS::AccountId", "AWS::Partition", "AWS::Region", "AWS::StackName"})


def statements(text: str, file: str, stack: str) -> list[Json]:
    """The statements of the policy document `text`, with one that keeps it from the control plane itself.

    `FleetError` names all that is wrong with it, each with its remedy. `file` is its name in errors.
    `stack` is the name of the stack.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise FleetError(f"{file}:1: runners.policy: it is not JSON ({error}). Write an IAM policy document") from None
    if wrong := list(_mistakes(document, text)):
        raise FleetError("\n".join(f"{file}:1: runners.policy: {what}" for what in wrong))
    return [*(_substituted(each) for each in _list(document["Statement"])), _denied(stack)]


def _mistakes(document: Any, text: str) -> Iterator[str]:
    if not isinstance(document, dict) or not isinstance(document.get("Statement"), list | dict):
        yield 'it is not a policy document. Write {"Version": "2012-10-17", "Statement": [...]}'
        return
    if document.get("Version") != "2012-10-17":
        yield 'its Version is not "2012-10-17". Older ones know no policy variables. Write that one'
    if len(re.sub(r"\s", "", text)) > _MOST_CHARACTERS:
        yield f"it has more than {_MOST_CHARACTERS:,} characters without blanks. Put several actions into one statement"
    for unknown in sorted(set(_PSEUDO.findall(text)) - _KNOWN):
        yield f"${{{unknown}}} is not known here. There are {', '.join(sorted(_KNOWN))}"
    for number, statement in enumerate(_list(document["Statement"]), 1):
        yield from (f"statement {number}: {what}" for what in _of_statement(statement))


def _of_statement(statement: Any) -> Iterator[str]:
    if not isinstance(statement, dict):
        yield "it is not an object. Write one with Effect, Action and Resource"
        return
    for key in sorted(statement.keys() - _KEYS):
        why = " belongs to the policies of buckets and queues" if "Principal" in key else " is no key of a statement"
        yield f"{key}{why}. Remove it"
    if statement.get("Effect") not in ("Allow", "Deny"):
        yield "its Effect is neither Allow nor Deny. Write one of them"
    for one, other in (("Action", "NotAction"), ("Resource", "NotResource")):
        if (one in statement) == (other in statement):
            yield f"it needs either {one} or {other}. Write one of them"
        elif not _texts(statement.get(one, statement.get(other))):
            yield f"its {one if one in statement else other} is neither a text nor a list of texts. Write one"
            return
    if statement.get("Effect") == "Allow" and _passes_roles(statement):
        yield ("it allows iam:PassRole on a wildcard, and with it any role of the account. Name the ARN of each role, "
               "in a statement of its own")


def _passes_roles(statement: Json) -> bool:
    if "NotAction" in statement:
        passes = not any(_matches(action) for action in _list(statement["NotAction"]))
    else:
        passes = any(_matches(action) for action in _list(statement.get("Action", [])))
    anything = any(mark in resource for resource in _list(statement.get("Resource", "*")) for mark in "*?")
    return passes and ("NotResource" in statement or anything)


def _matches(action: str) -> bool:
    """Whether a pattern of IAM stands for iam:PassRole, among others. In it only `*` and `?` are special."""
    return fnmatch.fnmatchcase("iam:passrole", action.lower().replace("[", "[[]"))


def _texts(value: Any) -> bool:
    return bool(value) and all(isinstance(each, str) for each in _list(value))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _substituted(value: Any) -> Any:
    """The value with each text that names a part of the stack as CloudFormation fills it in."""
    if isinstance(value, dict):
        return {key: _substituted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_substituted(inner) for inner in value]
    if isinstance(value, str) and _PSEUDO.search(value):
        # Policy variables such as ${aws:username} are IAM's to fill in.
        return {"Fn::Sub": re.sub(r"\$\{(?!AWS::)", "${!", value)}
    return value


def _denied(stack: str) -> Json:
    """The statement that no declaration can widen: nothing of the control plane itself is allowed."""
    tables = [part for table in (REGIONAL_TABLE, COORDINATION_TABLE) for part in (table, _below(table))]
    own = [queue(name) for name in sorted(queues.own_names())]
    roles = {"Fn::Sub": f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/{generated(stack)}"}
    return {"Sid": "ControlPlane", "Effect": "Deny", "Action": "*",
            "Resource": [*tables, *own, function("*"), arn("sns", "${AWS::StackName}-alerts"), roles]}


def _below(table: Json) -> Json:
    return {"Fn::Sub": f"{table['Fn::Sub']}/*"}
