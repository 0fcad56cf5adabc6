"""The walk of an event from its trigger to its effect is short. It is traced here, and printed.

A walk has the files of all functions that are under way when one of the named functions is called: what decides, what
sends, what acts. What these ask on their side (a calendar, a table) is no part of it.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

import pytest

from chalicelib.aws.route53 import AwsRoute53
from chalicelib.crontab.timetable import Timetable
from chalicelib.health_checks import decide as health_checks
from chalicelib.schedules import decide as schedules
from chalicelib.tunnels.decide import context
from testing.aws import FakeSsm
from testing.fakes import MemoryQueue, MemoryTable
from tests.health_checks.harness import Street
from tests.schedules import harness
from tests.schedules.harness import Place, job
from tests.tunnels.harness import A, Yard

ROOT = Path(__file__).resolve().parent.parent


class Walk:
    """The product's files on the way from the trigger to each of `stations`, in the order in which they were met."""

    def __init__(self, *stations: Callable[..., Any]) -> None:
        # The trigger itself is in app.py.
        self.files: dict[str, None] = {"app.py": None}
        self._codes = {station.__code__: station.__qualname__ for station in stations
                       if isinstance(station, FunctionType)}
        self.met: set[str] = set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Whatever runs within is traced."""
        before = sys.getprofile()
        sys.setprofile(self._seen)
        try:
            yield
        finally:
            sys.setprofile(before)

    def _seen(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code in self._codes:
            self.met.add(self._codes[frame.f_code])
            self.files |= dict.fromkeys(on_the_way(frame))

    def short(self, what: str, most: int, *more: str) -> None:
        """Fails for a walk of more than `most` files. `more` are files behind a fake."""
        assert self.met == set(self._codes.values()), "a station was never reached"
        files = [*self.files, *(file for file in more if file not in self.files)]
        print(f"{what} goes through {len(files)} files: {', '.join(files)}")
        assert 3 < len(files) <= most, files


def on_the_way(frame: FrameType | None) -> list[str]:
    """The product's files on the way to `frame`, from the trigger on."""
    files: list[str] = []
    while frame:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT / "chalicelib"):
            files.insert(0, str(path.relative_to(ROOT)))
        frame = frame.f_back
    return files


def test_a_job_goes_through_fifteen_files_at_most(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(command="echo hello")])
    walk = Walk(Timetable.due, schedules.tick, MemoryQueue.send, schedules.work, MemoryTable.create,
                MemoryTable.compare_and_set, subprocess.Popen.__init__)
    with walk.watched():
        harness.tick(place)
        harness.work(place)
    assert place.run("jobs/one", harness.SLOT)["state"] == "done"
    walk.short("a job", 15, "chalicelib/aws/store.py", "chalicelib/aws/client.py")
    assert "chalicelib/schedules/runners/function.py" in walk.files


def test_a_tunnel_repair_goes_through_ten_files_at_most() -> None:
    yard = Yard()
    yard.minute()
    yard.sides[A] = ("local", "refused")
    walk = Walk(context.DecisionContext.with_action, FakeSsm.send_command)
    with walk.watched():
        yard.minute()
    walk.short("a tunnel repair", 10, "chalicelib/aws/ssm.py")
    assert "chalicelib/tunnels/decide/repair.py" in walk.files


@pytest.mark.slow
def test_a_move_of_a_health_check_goes_through_eight_files_at_most() -> None:
    street = Street(10)
    street.turns(12)
    street.drop(next(iter(street.fixed_checks())))
    walk = Walk(health_checks.reconcile, AwsRoute53.update_health_check)
    with walk.watched():
        street.turns(3)
    walk.short("a move of a health check", 8)
    assert "chalicelib/health_checks/decide/__init__.py" in walk.files
