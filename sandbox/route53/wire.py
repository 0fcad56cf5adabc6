"""REST-XML as Route 53 speaks it, by the very model that boto3's client uses.

`Wire.asked` makes the operation and its arguments of an HTTP request. `answered` and `refused` make the response.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree as Xml

from botocore.loaders import Loader
from botocore.model import ListShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator

from sandbox.route53.errors import Refusal, invalid

NAMESPACE = "https://route53.amazonaws.com/doc/2013-04-01/"
_REQUEST_ID = "00000000-0000-0000-0000-000000000000"


class Wire:
    """The operations of Route 53 by method and path."""

    def __init__(self) -> None:
        model = ServiceModel(Loader().load_service_model("route53", "service-2"), "route53")
        self._operations = [model.operation_model(name) for name in model.operation_names]
        self._paths = [(one.http["method"], _path(one.http["requestUri"]), one) for one in self._operations]

    def asked(self, method: str, path: str, query: str, body: bytes) -> tuple[str, dict[str, Any]]:
        """The operation's name and its arguments in the shape of boto3. `Refusal` if they are not of that shape."""
        for wanted, pattern, operation in self._paths:
            found = pattern.fullmatch(path)
            if method == wanted and found:
                return operation.name, _arguments(operation, found.groupdict(), dict(parse_qsl(query)), body)
        raise Refusal("InvalidAction", f"{method} {path} is no operation of Route 53")

    def answered(self, name: str, result: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to operation `name`."""
        operation = next(one for one in self._operations if one.name == name)
        shape = operation.output_shape
        root = Xml.Element(f"{name}Response", xmlns=NAMESPACE)
        headers = {}
        for key, member in (shape.members if shape else {}).items():
            if member.serialization.get("location") == "header":
                headers[member.serialization["name"]] = str(result[key])
            elif key in result:
                _write(root, member.serialization.get("name", key), member, result[key])
        return int(operation.http.get("responseCode", 200)), headers, _document(root)


def refused(refusal: Refusal) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a refusal. Those of a batch are told together in brackets, as AWS does."""
    root = Xml.Element("ErrorResponse", xmlns=NAMESPACE)
    error = Xml.SubElement(root, "Error")
    batch = refusal.code == "InvalidChangeBatch"
    message = f"[{', '.join(refusal.messages)}]" if batch else "; ".join(refusal.messages)
    for key, text in (("Type", "Sender"), ("Code", refusal.code), ("Message", message)):
        Xml.SubElement(error, key).text = _clean(text)
    Xml.SubElement(root, "RequestId").text = _REQUEST_ID
    return refusal.status, {}, _document(root)


def _path(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\+?\}", template.rstrip("/"))
    pattern = "".join(f"(?P<{part}>[^/]+)" if number % 2 else re.escape(part) for number, part in enumerate(parts))
    return re.compile(pattern + "/?")


def _arguments(operation: OperationModel, path: dict[str, str], query: dict[str, str], body: bytes) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    shape = operation.input_shape
    tree = _tree(body) if body else None
    for key, member in (shape.members if shape else {}).items():
        name = member.serialization.get("name", key)
        source = {"uri": path, "querystring": query}.get(member.serialization.get("location", ""))
        if source is not None and name in source:
            asked[key] = _scalar(member, unquote(source[name]) if source is path else source[name])
        elif source is None and tree is not None and (node := tree.find(f"{{*}}{name}")) is not None:
            asked[key] = _read(member, node)
    if shape:
        report = ParamValidator().validate(asked, shape)
        if report.has_errors():
            raise invalid(report.generate_report())
    return asked


def _tree(body: bytes) -> Xml.Element:
    # A NUL would be UTF-16, in which a declaration could hide.
    if b"\0" in body or b"<!" in body.replace(b"<!--", b""):
        raise invalid("Invalid XML ; declarations are not allowed")
    try:
        return Xml.fromstring(body)  # noqa: S314 # entities need a declaration, which was refused above
    except Xml.ParseError as error:
        raise invalid(f"Invalid XML ; {error}") from None


def _read(shape: Shape, node: Xml.Element) -> Any:
    if isinstance(shape, StructureShape):
        members = shape.members.items()
        found = {key: node.find(f"{{*}}{member.serialization.get('name', key)}") for key, member in members}
        return {key: _read(shape.members[key], child) for key, child in found.items() if child is not None}
    if isinstance(shape, ListShape):
        return [_read(shape.member, child) for child in node]
    return _scalar(shape, node.text or "")


def _scalar(shape: Shape, text: str) -> Any:
    try:
        if shape.type_name in ("integer", "long"):
            return int(text)
        if shape.type_name in ("float", "double"):
            return float(text)
        if shape.type_name == "boolean":
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
    except (ValueError, KeyError):
        raise invalid(f"Invalid XML ; {text!r} is not of the type {shape.type_name}") from None
    allowed = getattr(shape, "enum", None)
    if allowed and text not in allowed:
        raise invalid(f"{text!r} is none of {', '.join(allowed)}")
    return text


def _write(parent: Xml.Element, name: str, shape: Shape, value: Any) -> None:
    node = Xml.SubElement(parent, name)
    if isinstance(shape, StructureShape):
        for key, member in shape.members.items():
            if value.get(key) is not None:
                _write(node, member.serialization.get("name", key), member, value[key])
    elif isinstance(shape, ListShape):
        for one in value:
            _write(node, shape.member.serialization.get("name", "member"), shape.member, one)
    else:
        node.text = _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return _clean(str(value))


def _clean(text: str) -> str:
    """XML 1.0 has no place for control characters."""
    return "".join(char if char >= " " or char in "\t\n\r" else "?" for char in text)


def _document(root: Xml.Element) -> bytes:
    return b'<?xml version="1.0"?>\n' + Xml.tostring(root)
