from typing import Any

import msgspec
import pytest

from chalicelib.config.declared import Tasks
from chalicelib.config.fleet import parse
from chalicelib.tasks.lint import FUNCTION_SECONDS, VISIBILITY_SECONDS, check
from chalicelib.tasks.registry import Registry, Task

FLEET = parse("""
name = "lamp"
regions = [{name = "eu-west-1"}]
coordination = {regions = ["eu-west-1"]}
queues = [{name = "default"}, {name = "slow", timeout = "10m", batch = 1}]
""")


def registry(**said: Any) -> Registry:
    made = Registry()
    facts: dict[str, Any] = {
        "name": "a.b", "function": print, "queue": "default", "retries": None, "timeout": None, "concurrency": None,
        "key": None, "remember": 0, "required": frozenset(), "allowed": None, "file": "tasks/a.py", "line": 3}
    made.add(Task(**facts | said))
    return made


def test_an_ordinary_task_has_no_findings() -> None:
    assert check(FLEET, registry()) == []
    assert check(FLEET, registry(queue="slow")) == []


@pytest.mark.parametrize(("said", "severity", "says"), [
    ({"queue": "nowhere"}, "error", "there is no queue 'nowhere'; declare it in fleet.toml as [[queues]], or "
                            "use one of default, slow"),
    ({"timeout": 1000}, "error", "a time-out of 16m40s is longer than any Lambda can work (14m20s); split the work"),
    ({"timeout": 861, "queue": "slow"}, "error", "on=ecs"),
    ({"timeout": 120}, "warning", "10 of 2m each do not fit into 14m20s. Those that have no time left go back "
                                  "untouched; set batch = 7"),
    ({"retries": 100}, "warning", "100 retries can take"),
])
def test_findings_name_place_and_remedy(said: dict[str, Any], severity: str, says: str) -> None:
    finding, = check(FLEET, registry(**said))
    assert str(finding).startswith(f"tasks/a.py:3:1: {severity}: a.b: ")
    assert says in str(finding)


def test_a_time_out_beyond_the_fleet_s_own_is_refused_with_the_key_to_change() -> None:
    finding, = check(FLEET, registry(timeout=120), 120)
    assert "is longer than the Lambda of the task queues works (1m20s)" in finding.message
    assert finding.remedy.startswith("set timeout = \"2m\" for the queue 'default' in fleet.toml")


@pytest.mark.parametrize(("timeout", "queue"), [(860, "slow"), (86, "default")])
def test_just_fitting_is_fine(timeout: int, queue: str) -> None:
    assert check(FLEET, registry(timeout=timeout, queue=queue)) == []


def test_tasks_that_share_the_worker_need_no_time_for_a_runner() -> None:
    shared = msgspec.structs.replace(FLEET, tasks=Tasks("shared"))
    assert check(shared, registry(timeout=895, queue="slow")) == []
    assert "(14m55s)" in check(shared, registry(timeout=896, queue="slow"))[0].message


@pytest.mark.parametrize(("visibility", "wrong"), [(899, True), (900, True), (901, False)])
def test_messages_must_be_hidden_for_longer_than_the_lambda_lives(visibility: int, wrong: bool) -> None:
    found = check(FLEET, registry(), 900, {"default": visibility, "slow": 960})
    assert [finding.code for finding in found] == (["visibility"] if wrong else [])
    assert not wrong or "would run twice" in found[0].message
    assert VISIBILITY_SECONDS > FUNCTION_SECONDS


def test_a_queue_that_the_template_forgot_is_found() -> None:
    assert [finding.code for finding in check(FLEET, registry(), 900, {"default": 960})] == ["visibility"]


def test_a_module_that_does_not_import_refuses_the_package() -> None:
    made = registry()
    made.broken["lamps"] = "tasks/lamps.py:3: does not import (SyntaxError: x; y). Correct it and deploy again"
    finding, = check(FLEET, made)
    assert (finding.file, finding.line, finding.severity) == ("tasks/lamps.py", 3, "error")
    assert finding.message == "does not import (SyntaxError: x; y)"
    assert finding.remedy == "Correct it and deploy again"
