"""Command documents of Systems Manager, schema 2.2, with their required form, and their scripts.

Their form is from "Data elements and parameters" and "Command document plugin reference" (aws:runShellScript) in the
user guide.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

# The part of AWS's own document that matters here.
RUN_SHELL_SCRIPT = {
    "schemaVersion": "2.2", "description": "Run a shell script or specify the commands to run.",
    "parameters": {"commands": {"type": "StringList"}, "workingDirectory": {"type": "String", "default": ""},
                   "executionTimeout": {"type": "String", "default": "3600", "allowedPattern": "([1-9][0-9]{0,5})"}},
    "mainSteps": [{"action": "aws:runShellScript", "name": "runShellScript", "inputs": {
        "runCommand": "{{ commands }}", "workingDirectory": "{{ workingDirectory }}",
        "timeoutSeconds": "{{ executionTimeout }}"}}]}
_NAMED = re.compile(r"\{\{\s*([^{}\s]+)\s*\}\}")
_MIXED = "is not what a document of schema 2.2 has there"


class DocumentError(Exception):
    """A document or its parameters are refused. `code` is the API's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Parameter(msgspec.Struct, frozen=True, rename="camel"):
    """One parameter that a document takes."""

    type: str
    default: Any = None
    allowed_values: list[Any] = []
    allowed_pattern: str = ""
    min_chars: int = 0
    max_chars: int = 2**31
    interpolation_type: str = ""
    description: str = ""
    display_type: str = ""


class Inputs(msgspec.Struct, frozen=True, rename="camel"):
    """What aws:runShellScript takes. `run_command` may be a reference to a list."""

    run_command: list[str] | str
    timeout_seconds: int | str = 3600
    working_directory: str = ""


class Step(msgspec.Struct, frozen=True):
    """One step of a document."""

    action: str
    name: str
    inputs: Inputs
    precondition: dict[str, list[str]] = {}


class Document(msgspec.Struct, frozen=True, rename="camel"):
    """A whole document."""

    schema_version: str
    main_steps: list[Step]
    description: str = ""
    parameters: dict[str, Parameter] = {}


class Script(msgspec.Struct, frozen=True):
    """A script, with its text, for at most `seconds`, in `folder` (empty is the home), with more `environment`."""

    text: str
    seconds: float
    folder: str
    environment: dict[str, str]


def parse(content: str, form: str = "JSON") -> Document:
    """The document that `content` (JSON or YAML) is. `DocumentError` (InvalidDocumentContent) says what is wrong."""
    try:
        raw = yaml.safe_load(content) if form == "YAML" else json.loads(content)
        document = msgspec.convert(raw, Document)
    except (ValueError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise DocumentError("InvalidDocumentContent", f"the content {_MIXED}: {error}") from error
    problem = _problem(document)
    if problem:
        raise DocumentError("InvalidDocumentContent", problem)
    return document


def _problem(document: Document) -> str:
    if document.schema_version != "2.2":
        return f"schemaVersion is {document.schema_version!r}; the sandbox runs documents of schema 2.2"
    if len(document.main_steps) != 1 or document.main_steps[0].action != "aws:runShellScript":
        return "the sandbox runs documents with one step, of action aws:runShellScript"
    if document.main_steps[0].precondition not in ({}, {"StringEquals": ["platformType", "Linux"]}):
        return "the sandbox knows the precondition that platformType is Linux, and no other"
    for name in sorted(_references(document.main_steps[0].inputs) - document.parameters.keys()):
        return f"{{{{ {name} }}}} is no parameter of this document"
    return ""


def _references(inputs: Inputs) -> set[str]:
    lines = inputs.run_command if isinstance(inputs.run_command, list) else [inputs.run_command]
    return {name for line in (*lines, str(inputs.timeout_seconds), inputs.working_directory)
            for name in _NAMED.findall(line)}


def script(document: Document, given: Mapping[str, list[str]]) -> Script:
    """The script that a document becomes with the parameters of a SendCommand. `DocumentError` if they do not fit."""
    values = {name: _value(name, parameter, given.get(name)) for name, parameter in document.parameters.items()}
    for name in given.keys() - values.keys():
        raise DocumentError("InvalidParameters", f"{name} is no parameter of this document")
    safe = {name for name, parameter in document.parameters.items() if parameter.interpolation_type == "ENV_VAR"}
    shown = {name: "${SSM_" + name + "}" if name in safe else value for name, value in values.items()}
    inputs = document.main_steps[0].inputs
    return Script("\n".join(_lines(inputs.run_command, shown)) + "\n",
                  _seconds(_filled(str(inputs.timeout_seconds), values)), _filled(inputs.working_directory, values),
                  {f"SSM_{name}": str(values[name]) for name in safe})


def _value(name: str, parameter: Parameter, given: list[str] | None) -> str | list[str]:
    if given is None:
        if parameter.default is None:
            raise DocumentError("InvalidParameters", f"{name} has no default and was not given")
        return parameter.default if isinstance(parameter.default, list) else str(parameter.default)
    for one in given:
        allowed = [str(value) for value in parameter.allowed_values]
        fits = re.fullmatch(parameter.allowed_pattern, one) if parameter.allowed_pattern else True
        if not fits or (allowed and one not in allowed) or not parameter.min_chars <= len(one) <= parameter.max_chars:
            raise DocumentError("InvalidParameters", f"{one!r} is not allowed as {name}")
    if parameter.type in ("StringList", "MapList"):
        return given
    if len(given) != 1:
        raise DocumentError("InvalidParameters", f"{name} is one {parameter.type}, not {len(given)}")
    return given[0]


def _lines(run: list[str] | str, values: Mapping[str, str | list[str]]) -> list[str]:
    found: list[str] = []
    for line in run if isinstance(run, list) else [run]:
        whole = _NAMED.fullmatch(line.strip())
        value = values[whole[1]] if whole else None
        found += value if isinstance(value, list) else [_filled(line, values)]
    return found


def _filled(line: str, values: Mapping[str, str | list[str]]) -> str:
    def put(match: re.Match[str]) -> str:
        value = values[match[1]]
        return json.dumps(value) if isinstance(value, list) else value

    return _NAMED.sub(put, line)


def _seconds(text: str) -> float:
    if not text.isdigit() or not 0 < int(text) <= 172800:
        raise DocumentError("InvalidParameters", f"a time-out of {text!r} is not 1 to 172800 seconds")
    return float(text)
