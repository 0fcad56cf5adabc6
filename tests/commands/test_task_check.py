from pathlib import Path
from typing import Any

import pytest

from chalicelib.config.fleet import load
from commands.deploy.task_check import warnings
from commands.errors import UsageError

FLEET = """
name = "lamp"
regions = [{name = "eu-west-1"}]
coordination = {regions = ["eu-west-1"]}
queues = [{name = "default"}]
"""
TASK = "from lamplighter import task\n\n@task(%s)\ndef work() -> None: ...\n"


def template(function: int = 180, visibility: int = 240) -> dict[str, Any]:
    return {"Resources": {"TasksWork": {"Properties": {"Timeout": function}},
                          "QueueDefault": {"Properties": {"VisibilityTimeout": visibility}}}}


def told(root: Path, text: str, **times: int) -> list[str]:
    (root / "fleet.toml").write_text(FLEET)
    (root / "tasks").mkdir()
    (root / "tasks" / "lamps.py").write_text(text)
    return warnings(root, "test", load(root / "fleet.toml"), template(**times))


@pytest.mark.slow
def test_a_sound_project_has_nothing_to_say(tmp_path: Path) -> None:
    assert told(tmp_path, "print('a module may print')\n" + TASK % 'timeout="10s"') == []


@pytest.mark.slow
def test_a_warning_does_not_refuse(tmp_path: Path) -> None:
    only, = told(tmp_path, TASK % 'timeout="30s"')
    assert only.startswith("tasks/lamps.py:3:1: warning: lamps.work: 10 of 30s each do not fit into 2m20s")


@pytest.mark.slow
@pytest.mark.parametrize(("text", "times", "says"), [
    (TASK % 'queue="nowhere"', {}, "tasks/lamps.py:3:1: error: lamps.work: there is no queue 'nowhere'"),
    (TASK % 'timeout="20m"', {}, "is longer than any Lambda can work"),
    (TASK % 'retries="many"', {}, "tasks/lamps.py:3:1: error: does not import (tasks/lamps.py:3: retries='many'"),
    ("x = \n", {}, "tasks/lamps.py:1:5: error: does not import (SyntaxError"),
    (TASK % "", {"visibility": 120}, "SQS hides messages for 120 s while the Lambda"),
    ("import os; os._exit(7)", {}, "tasks/: cannot be imported: it ended with 7"),
    ("raise SystemExit('not here')", {}, "tasks/lamps.py:1:1: error: does not import (SystemExit: not here)"),
])
def test_what_is_wrong_refuses_the_package(tmp_path: Path, text: str, times: dict[str, int], says: str) -> None:
    with pytest.raises(UsageError) as error:
        told(tmp_path, text, **times)
    assert says in str(error.value)
    assert "Traceback" not in str(error.value)


@pytest.mark.slow
def test_the_samples_of_this_repository_are_sound() -> None:
    root = Path(__file__).parents[2]
    assert warnings(root, "test", load(root / "fleet.toml"), template()) == []
