"""The demo's one verdict, its screen, and the fleet that it deploys."""

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from chalicelib.config import fleet
from commands import cli, roots
from commands.demo import screen, staged
from commands.demo.demo import verdict
from commands.demo.jobs import Outcome, wrong
from commands.demo.part import Section
from commands.deploy import packaging
from commands.develop import init
from sandbox.ran import Slot, Tasks
from sandbox.stalls import Stalls
from testing.eventually import eventually


def stalls(seconds: float, *each: float) -> Stalls:
    found = Stalls()
    found.seconds, found.each = seconds, list(each)
    return found


QUICK, SLOW = stalls(500.0, 0.6, 0.7), stalls(500.0, *[4.0] * 30)
RAN = Slot("a", "2026-11-29T02:00Z", 100, "done", "eu", 3.0, 1, 1)
GOOD = Outcome("eu", "us", (103, 104), (103 * 60, 105 * 60), 120.0,
               [RAN, msgspec.structs.replace(RAN, minute=103, region="us", late=62.0)], Tasks(1000, 997, 3, 50, 0))


@pytest.mark.parametrize(("failures", "found", "status", "said"), [
    ([], QUICK, 0, "All of it held."),
    ([], SLOW, 0, "All of it held."),
    (["x"], QUICK, 1, "It did not hold: 1 failure, listed above."),
    (["x", "y"], stalls(500.0), 1, "It did not hold: 2 failures, listed above."),
    (["x"], SLOW, 3, "This machine was too slow to tell. This machine stood still for 120 of 500 s, in"),
    (["x"], stalls(536.2, 3.7, *[1.44] * 37), 1, "It did not hold: 1 failure"),  # two quiet cores
    (["x"], stalls(500.0, 11.0), 3, "This machine was too slow to tell.")])
def test_the_verdict_is_computed_from_all_failures_and_the_stalls(
    failures: list[str], found: Stalls, status: int, said: str
) -> None:
    ended, line = verdict(failures, found)
    assert ended == status and line.startswith(said) and found.said() in line


def test_a_world_that_answers_late_is_a_stall() -> None:
    clock = iter([0.0, 0.6, 0.0, 0.0])

    def ask() -> None:
        import time

        time.sleep(next(clock, 0.0))  # the machine that stands still

    found = Stalls()
    with found.watching(ask):
        eventually(lambda: found.each)
    assert len(found.each) == 1 and found.each[0] >= 0.6 and found.seconds >= 0.6


@pytest.mark.parametrize(("change", "said"), [
    ({}, []),
    ({"slots": []}, ["no job was due", "us took nothing over"]),
    ({"tasks": Tasks(0, 0, 0, 0, 0)}, ["no task was sent"]),
    ({"tasks": Tasks(10, 9, 0, 0, 0)}, ["tasks do not add up"]),
    ({"tasks": Tasks(10, 10, 0, 0, 1)}, ["tasks do not add up"]),
    ({"slots": [*GOOD.slots, msgspec.structs.replace(RAN, claims=2)]}, ["a for 2026-11-29T02:00Z: done, claimed 2"]),
    ({"slots": [*GOOD.slots, msgspec.structs.replace(RAN, state="not run", claims=0)]}, ["a for 2026-11-29T02:00Z: n"]),
    ({"slots": [*GOOD.slots, msgspec.structs.replace(RAN, state="failed", attempts=3, claims=3)]}, []),
    ({"slots": [*GOOD.slots, msgspec.structs.replace(RAN, state="overlapped", claims=0)]}, []),
    ({"slots": [*GOOD.slots, msgspec.structs.replace(RAN, state="overlapped")]}, ["a for 2026-11-29T02:00Z: over"]),
    ({"slots": [*GOOD.slots, msgspec.structs.replace(RAN, state="interrupted")]}, ["a for 2026-11-29T02:00Z: inter"]),
    ({"slots": [*GOOD.slots, msgspec.structs.replace(RAN, minute=104)]}, ["a for 2026-11-29T02:00Z ran in eu, which"]),
    # Home's rule has fired late in the last minute before its death, or again right after it.
    ({"slots": [*GOOD.slots, msgspec.structs.replace(RAN, minute=102, late=59.0)]}, []),
    ({"slots": [*GOOD.slots, msgspec.structs.replace(RAN, minute=102, late=61.0)]}, ["a for 2026-11-29T02:00Z ran in"]),
    ({"slots": [*GOOD.slots, msgspec.structs.replace(RAN, minute=104, late=61.0)]}, []),
    ({"takeover_limit_seconds": 60.0}, ["a slot was taken over only after 62.0 s; 60 s is the limit"])])
def test_what_did_not_hold_for_the_jobs_is_told(change: dict[str, Any], said: list[str]) -> None:
    lines = list(wrong(msgspec.structs.replace(GOOD, **change)))
    assert len(lines) == len(said) and all(line.startswith(one) for line, one in zip(lines, said, strict=True)), lines


@pytest.mark.parametrize("width", [80, 120])
def test_the_picture_fits_its_width(width: int) -> None:
    slots = [msgspec.structs.replace(RAN, job="cron.d/lamplighter-demo/a-long-name-of-a-job-of-mine", minute=minute)
             for minute in range(100, 106) for _ in range(2)]
    notes = {"jobs": "eu-west-1 is dead; us-east-1 waits 60 s, then does its work", "users": "x" * 100}
    picture = screen.Picture(notes, ["eu", "us"], "us", range(100, 106), slots, {"SE": "eu", "US": ""})
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system=None).print(picture)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("● ●" in line for line in lines) and any("01:45" in line for line in lines), lines


def test_text_from_outside_is_shown_as_it_is() -> None:
    out = io.StringIO()
    console = Console(file=out, width=200)
    screen.conclude(console, Section("[bold]title", None, ["[/] [link=x]y[/link]"], None, ["[red]no[/]"]))
    assert out.getvalue().splitlines() == ["", "[bold]title", "  [/] [link=x]y[/link]", "  ✖ [red]no[/]"]


HEAD = 'name = "acme"\n[[regions]]\nname = "eu-west-1"\n'


@pytest.mark.parametrize(("text", "said"), [
    (HEAD + '[coordination]\nregions = ["eu-west-1"]\n', "needs two regions or more"),
    (HEAD + '[[regions]]\nname = "us-east-1"\n[coordination]\nregions = ["eu-west-1"]\n',
     "kills eu-west-1, which has the only coordination table")])
def test_a_fleet_that_cannot_outlive_its_home_is_refused_in_one_sentence(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleet.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line and line.startswith("error: fleet.toml: ")


@pytest.mark.parametrize("empty", [False, True])
def test_any_fleet_has_a_job_and_a_task_to_show(empty: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init.write(tmp_path / "acme", init.contents("acme"))
    if empty:
        for name in ("cron/reports.py", "cron/crontabs/deploy", "tasks/invoices.py"):
            (tmp_path / "acme" / name).unlink()
        (tmp_path / "acme" / "tasks").rmdir()
    monkeypatch.setenv(roots.VARIABLE, str(tmp_path / "acme"))
    with staged.staged(fleet.load(tmp_path / "acme" / "fleet.toml"), "\n# more\n") as folder:
        declared = fleet.load(folder / "fleet.toml", staged.STAGE)
        assert staged.QUEUE in [queue.name for queue in declared.queues]
        assert staged.QUEUE not in [queue.name for queue in fleet.load(folder / "fleet.toml", "prod").queues]
        assert declared.files and all((folder / name).is_file() for name in declared.files.values())
        compiled, _, warnings = packaging.schedules(folder, declared)
        assert b"lamplighter-demo/lamps" in compiled["jobs.bin"] and not warnings
        own = {path.name for path in (folder / "tasks").glob("*.py")}
    assert own == {f"{staged.TASKS}.py"} | (set() if empty else {"invoices.py"})
    assert not (tmp_path / "acme" / "cron" / "cron.d").exists(), "the user's own folder stays as it is"
