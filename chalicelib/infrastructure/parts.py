"""The small shapes that all parts of a CloudFormation template are made of."""

import re
from typing import Any

Json = dict[str, Any]
# What stays of a stack's name at least, see `generated`.
_KEPT_CHARACTERS = 25


def logical(name: str) -> str:
    """The CloudFormation logical id of the queue or function `name`, such as `InvoicesDead` for `invoices-dead`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_]", name))


def named(name: str) -> Json:
    """The name in AWS of the stack's own `name`."""
    return {"Fn::Sub": f"${{AWS::StackName}}-{name}"}


def generated(stack: str) -> str:
    """The pattern of the names that CloudFormation makes for roles and instance profiles of the stack.

    A role has 64 characters, of which 13 are for a random end. If the rest is too short for stack and logical id,
    CloudFormation cuts both. AWS does not document how. In names of real stacks 25 characters of the stack's name
    stayed, or 26 before a short id (KensioSoftware/yulin issue 1113, aws-solutions-library-samples/qnabot-on-aws issue
    741). So a longer name is followed by whatever AWS leaves of it.
    """
    return f"{stack}-*" if len(stack) <= _KEPT_CHARACTERS else f"{stack[:_KEPT_CHARACTERS]}*"


def attribute(id: str, name: str) -> Json:
    """An attribute of a resource of the template."""
    return {"Fn::GetAtt": [id, name]}


def resource(kind: str, properties: Json, **more: Any) -> Json:
    """One resource. `more` are its other attributes, such as `DeletionPolicy`."""
    return {"Type": f"AWS::{kind}", **more, "Properties": properties}
