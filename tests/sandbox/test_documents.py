"""Documents of Systems Manager: what is refused, and the script that a document becomes."""

import json
from typing import Any

import pytest

from sandbox.compute.documents import RUN_SHELL_SCRIPT, DocumentError, parse, script


def document(**inputs: Any) -> dict[str, Any]:
    """A document of ours."""
    return {
        "schemaVersion": "2.2", "parameters": {
            "unit": {"type": "String", "allowedPattern": "[a-z@0-9-]+"},
            "words": {"type": "StringList", "default": ["a", "b"]},
            "mode": {"type": "String", "default": "soft", "allowedValues": ["soft", "hard"]},
            "safe": {"type": "String", "default": "; rm", "interpolationType": "ENV_VAR"}},
        "mainSteps": [{"action": "aws:runShellScript", "name": "one", "inputs": {"runCommand": [
            "systemctl restart {{ unit }}", "{{words}}", "echo '{{ words }}' \"{{ safe }}\" {{mode}}"], **inputs}}]}


def made(content: Any, **given: list[str]) -> Any:
    """The script that it becomes."""
    return script(parse(json.dumps(content)), given)


def test_parameters_are_put_in() -> None:
    found = made(document(timeoutSeconds="20", workingDirectory="/tmp"), unit=["tunnel@a"], mode=["hard"])
    assert found.text == "systemctl restart tunnel@a\na\nb\necho '[\"a\", \"b\"]' \"${SSM_safe}\" hard\n"
    assert (found.seconds, found.folder, found.environment) == (20, "/tmp", {"SSM_safe": "; rm"})


def test_awss_own_document() -> None:
    found = made(RUN_SHELL_SCRIPT, commands=["echo a", "exit 3"], executionTimeout=["7"])
    assert (found.text, found.seconds, found.folder) == ("echo a\nexit 3\n", 7, "")


@pytest.mark.parametrize(("given", "says"), [
    ({}, "unit has no default"), ({"unit": ["a; reboot"]}, "not allowed as unit"), ({"unit": ["a", "b"]}, "one String"),
    ({"unit": ["a"], "mode": ["other"]}, "not allowed as mode"), ({"unit": ["a"], "x": ["y"]}, "x is no parameter")])
def test_parameters_that_do_not_fit_are_refused(given: dict[str, list[str]], says: str) -> None:
    with pytest.raises(DocumentError, match=says) as caught:
        made(document(), **given)
    assert caught.value.code == "InvalidParameters"


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "172801"])
def test_a_time_out_that_is_none_is_refused(seconds: str) -> None:
    with pytest.raises(DocumentError, match="is not 1 to 172800 seconds"):
        made(document(timeoutSeconds=seconds), unit=["a"])


@pytest.mark.parametrize(("change", "says"), [
    ({"schemaVersion": "0.3"}, "schema 2.2"), ({"mainSteps": []}, "one step"),
    ({"mainSteps": [{"action": "aws:runPowerShellScript", "name": "a", "inputs": {"runCommand": []}}]}, "one step"),
    ({"mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["{{ gone }}"]}}]},
     "gone .* no parameter"),
    ({"mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["{{ssm:key}}"]}}]},
     "ssm:key"),
    ({"mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": []},
                     "precondition": {"StringEquals": ["platformType", "Windows"]}}]}, "Linux"),
    ({"mainSteps": 3}, "is not what")])
def test_a_bad_document_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(DocumentError, match=says) as caught:
        parse(json.dumps(document() | change))
    assert caught.value.code == "InvalidDocumentContent"


@pytest.mark.parametrize(("content", "form"), [("", "JSON"), ("{", "JSON"), ("[", "YAML"), ("a: [", "YAML")])
def test_what_is_no_document_is_refused(content: str, form: str) -> None:
    with pytest.raises(DocumentError, match="is not what"):
        parse(content, form)


def test_yaml_will_do() -> None:
    text = "schemaVersion: '2.2'\nmainSteps:\n- {action: 'aws:runShellScript', name: a, inputs: {runCommand: [ls]}}\n"
    assert script(parse(text, "YAML"), {}).text == "ls\n"
