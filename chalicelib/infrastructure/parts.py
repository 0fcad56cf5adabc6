"""The small shapes that all parts of a CloudFormation template are made of."""

import re
from typing import Any

Json = dict[str, Any]


def logical(name: str) -> str:
    """The CloudFormation logical id of the queue or function `name`, such as `InvoicesDead` for `invoices-dead`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_]", name))


def named(name: str) -> Json:
    """The name in AWS of the stack's own `name`."""
    return {"Fn::Sub": f"${{AWS::StackName}}-{name}"}


def attribute(id: str, name: str) -> Json:
    """An attribute of a resource of the template."""
    return {"Fn::GetAtt": [id, name]}


def resource(kind: str, properties: Json, **more: Any) -> Json:
    """One resource. `more` are its other attributes, such as `DeletionPolicy`."""
    return {"Type": f"AWS::{kind}", **more, "Properties": properties}
