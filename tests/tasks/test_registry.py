import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from chalicelib.tasks import registry
from chalicelib.tasks.registry import Registry, load
from lamplighter import TaskError, task


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    fresh = Registry()
    monkeypatch.setattr(registry, "REGISTRY", fresh)
    yield fresh


def test_a_task_stays_a_plain_function_and_gets_a_name(own_registry: Registry) -> None:
    @task(retries=2, timeout="2m", concurrency=10, key="customer", queue="slow")
    def render(customer: int, style: str = "plain") -> str:
        return f"{customer} {style}"

    assert render(7) == "7 plain"
    noted = next(iter(own_registry.tasks.values()))
    assert noted.name.endswith("test_registry.test_a_task_stays_a_plain_function_and_gets_a_name.<locals>.render")
    assert (noted.retries, noted.timeout, noted.concurrency, noted.queue) == (2, 120, 10, "slow")
    assert noted.key is not None and noted.key({"customer": 7, "style": "x"}) == "[7]"
    assert noted.file.startswith("tasks/test_registry.py")


def test_bare_and_with_nothing_said_the_queue_decides(own_registry: Registry) -> None:
    @task
    def bare() -> None:
        """Nothing."""

    noted = next(iter(own_registry.tasks.values()))
    assert (noted.queue, noted.retries, noted.timeout, noted.concurrency) == ("default", None, None, None)


@pytest.mark.parametrize(("args", "misfit"), [
    ({"a": 1}, ""), ({"a": 1, "b": 2}, ""), ({}, "needs the argument a"), ({"b": 1}, "needs the argument a"),
    ({"a": 1, "c": 1, "d": 2}, "has no argument c, d"),
])
def test_arguments_are_checked_before_the_call(own_registry: Registry, args: dict[str, Any], misfit: str) -> None:
    @task
    def work(a: int, b: int = 0) -> None:
        """Nothing."""

    noted = next(iter(own_registry.tasks.values()))
    assert misfit in noted.argument_error(args)
    assert noted.accepts(args) == (not noted.argument_error(args))


def test_a_function_with_open_arguments_takes_any(own_registry: Registry) -> None:
    @task
    def work(a: int, **rest: int) -> None:
        """Nothing."""

    noted = next(iter(own_registry.tasks.values()))
    assert noted.accepts({"a": 1, "whatever": 2}) and not noted.accepts({"whatever": 2})


@pytest.mark.parametrize(("options", "says"), [
    ({"timeout": "2 minutes"}, "is not a span of time"),
    ({"timeout": 120}, "timeout or remember"),
    ({"timeout": "0s"}, "must be at least 1s"),
    ({"remember": "soon"}, "timeout or remember"),
    ({"retries": -1}, "retries=-1: must be a whole number between 0 and 100"),
    ({"retries": 101}, "between 0 and 100"),
    ({"retries": "many"}, "retries='many': must be a whole number"),
    ({"concurrency": 0}, "between 1 and 1000"),
    ({"key": "customr"}, "no argument customr"),
])
def test_a_wrong_declaration_names_file_line_and_mistake(options: dict[str, Any], says: str) -> None:
    with pytest.raises(TaskError, match=r"^tasks/test_registry\.py:\d+: ") as error:
        task(**options)(lambda customer: None)

    assert says in str(error.value)


def test_what_cannot_be_sent_or_run_is_refused() -> None:
    async def later() -> None:
        """Nothing."""

    def positional(a: int, /) -> None:
        """Nothing."""

    def reserved(delay: str) -> None:
        """Nothing."""

    for function, says in ((later, "async"), (positional, "'a' cannot be sent"), (reserved, "'delay' cannot be sent")):
        with pytest.raises(TaskError, match=says):
            task(function)
    with pytest.raises(TaskError, match="belongs on a plain function"):
        task(len)


def test_a_key_may_be_several_arguments_or_a_function(own_registry: Registry) -> None:
    @task(key=("a", "b"))
    def several(a: int, b: int = 0) -> None:
        """Nothing."""

    @task(key=lambda a, b: f"{a}-{b}")
    def made(a: int, b: int) -> None:
        """Nothing."""

    first, second = own_registry.tasks.values()
    assert first.key is not None and first.key({"a": 1}) == "[1,null]"
    assert second.key is not None and second.key({"a": 1, "b": 2}) == "1-2"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty tasks/ of another project."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    made = tmp_path / "errands"
    made.mkdir()
    yield made
    for name in [name for name in sys.modules if name == "errands" or name.startswith("errands.")]:
        del sys.modules[name]


GOOD = "from lamplighter import task\n@task\ndef work() -> None: ...\n"


def test_modules_are_found_in_subfolders_and_private_ones_left_alone(folder: Path, own_registry: Registry) -> None:
    (folder / "billing").mkdir()
    (folder / "billing" / "pdf.py").write_text(GOOD)
    (folder / "_private.py").write_text("raise RuntimeError('not to be imported')\n")
    load(folder, own_registry)
    assert list(own_registry.tasks) == ["errands.billing.pdf.work"]
    assert not own_registry.broken


@pytest.mark.parametrize(("text", "says"), [
    ("import nothing_like_this\n", "errands/bad.py:1: does not import (ModuleNotFoundError"),
    ("x = 1\n\ny = 1 +\n", "errands/bad.py:3:8: does not import (SyntaxError"),
    ("x = 1\nraise ValueError('no')\n", "errands/bad.py:2: does not import (ValueError: no)"),
])
def test_a_broken_module_is_noted_and_keeps_no_other_from_running(
    folder: Path, own_registry: Registry, text: str, says: str
) -> None:
    (folder / "bad.py").write_text(text)
    (folder / "good.py").write_text(GOOD)
    load(folder, own_registry)
    assert list(own_registry.tasks) == ["errands.good.work"]
    assert says in own_registry.broken["bad"]
    assert own_registry.why_unknown("bad.work") == own_registry.broken["bad"]


def test_two_tasks_of_one_name_are_a_mistake(own_registry: Registry) -> None:
    @task
    def work() -> None:
        """Nothing."""

    noted = next(iter(own_registry.tasks.values()))
    from msgspec.structs import replace

    own_registry.add(replace(noted, line=99))  # the same file once more: a reload
    says = r"tasks/other\.py:1: the task .* stands at tasks/test_registry\.py:99 already"
    with pytest.raises(TaskError, match=says):
        own_registry.add(replace(noted, file="tasks/other.py", line=1))


def imported() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "tasks"}


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if nobody had imported tasks/ yet; afterwards all is as it was, as other tests may have."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = imported()
    for name in before:
        del sys.modules[name]
    yield
    for name in imported():
        del sys.modules[name]
    sys.modules.update(before)


def test_the_samples_load_under_their_names(own_registry: Registry, unloaded: None) -> None:
    load(Path(__file__).parents[2] / "tasks", own_registry)
    assert {"invoices.render", "invoices.remind", "chores.sweep", "chores.rounds",
            "chores.poison"} <= own_registry.tasks.keys()
    assert not own_registry.broken
    assert own_registry.tasks["invoices.render"].file == "tasks/invoices.py"
