"""What the bench of random faults holds for a double heal, and its figures; its run is `./lamp bench tunnels`."""

import threading
from collections.abc import Callable
from typing import cast

import pytest

from commands.bench import tunnels_faults, tunnels_region
from commands.bench.tunnels_region import Draw
from commands.bench.tunnels_report import Fault, Removal, Restart, doubles, p99, rows
from sandbox.world import WorldError
from testing.eventually import SECONDS

A, B = "i-a", "i-b"
FIRST = Restart("1/i-a/7/2/restart", A, 100.0, 102.0, failed=False)


def restart(key: str, at: float, ended: float, failed: bool = False) -> Restart:
    return Restart(key, key.split("/")[1], at, ended, failed)


@pytest.mark.parametrize(("restarts", "removals", "found"), [
    ([FIRST], [], ""),
    ([FIRST, FIRST._replace(at=100.4)], [], "1/i-a/7/2/restart was sent twice"),
    ([FIRST, restart("1/i-a/7/3/restart", 110, 111)], [], "i-a was restarted 8 s after its restart had ended"),
    ([FIRST, restart("1/i-a/7/3/restart", 132, 133)], [], ""),
    ([FIRST._replace(failed=True), restart("1/i-a/7/3/restart", 103, 104)], [], ""),
    ([FIRST, restart("1/i-a/8/2/restart", 120, 121)], [], ""),
    ([FIRST, restart("2/i-b/7/2/restart", 101, 103)], [], "i-a and i-b were restarted at once"),
    ([FIRST, restart("2/i-b/7/2/restart", 103, 104)], [], ""),
    ([], [Removal(A, 100, 103), Removal(A, 101, 103)], "i-a was terminated twice"),
    ([], [Removal(A, 100, 103), Removal(B, 101, 105)], "i-a and i-b were replaced at once"),
    ([], [Removal(A, 100, 103), Removal(B, 140, 145)], ""),
    ([FIRST], [Removal(A, 98, 104)], "i-a was restarted after it was terminated"),
    ([FIRST], [Removal(A, 170, 173)], ""),
    ([FIRST], [Removal(B, 98, 104)], "i-a was restarted while i-b was replaced"),
    ([FIRST], [Removal(B, 110, 114)], ""),
])
def test_a_double_heal_is_told(restarts: list[Restart], removals: list[Removal], found: str) -> None:
    assert list(doubles(restarts, removals)) == ([found] if found else [])


def test_the_figures_and_their_limits() -> None:
    faults = [Fault("one ssh hung", 30.0, "restart"), Fault("one ssh hung", 61.0, "restart"),
              Fault("a host destroyed", 90.0, "replacement"), Fault("one ssh killed", 12.0, "alone"),
              Fault("both ssh hung", None, "restart", ("twice",))]
    found = {row.what: (row.value, row.within) for row in rows(faults, 6, 1_000, 1, (9, 3, 2, 1))}
    assert found == {
        "faults": (5, False), "double heals": (1, False), "rows lost, of 1,000": (1, False),
        "healed unattended": (80.0, False), "by restart, 2: median": (45.5, True), "by restart, 2: p99": (61.0, False),
        "by replacement, 1: median": (90.0, True), "by replacement, 1: p99": (90.0, True),
        "without the healer, 1: median": (12.0, True), "without the healer, 1: p99": (12.0, True),
        "rounds of both controllers": (9, True), "rounds that came second": (3, True), "acts overtaken": (2, True),
        "rounds that failed": (1, True)}


def test_all_is_well_when_all_limits_are_kept() -> None:
    assert all(row.within for row in rows([Fault("one ssh hung", 60.0, "restart")], 1, 10, 0, (1, 0, 0, 0)))


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (99, 99), (100, 99), (500, 495)])
def test_p99_is_the_nearest_rank(count: int, rank: int) -> None:
    assert p99([float(one) for one in range(count, 0, -1)]) == rank


class Yard:
    """Suffers what it is given, as `suffer` says; `mended` after what was not healed is said by `mends`."""

    def __init__(self, suffer: Callable[[Draw], Fault], mends: bool = True) -> None:
        self.suffer, self.mends = suffer, mends
        self.over = threading.Event()

    def mended(self) -> bool:
        return self.mends


def healed(draw: Draw) -> Fault:
    return Fault(draw.name, 1.0, "restart")


def lost(draw: Draw) -> Fault:
    return Fault(draw.name, None, "restart")


def worked(*yards: Yard, count: int = 20) -> tuple[list[Fault], list[Draw]]:
    told: list[Fault] = []
    waiting = iter(tunnels_region.draws(count, 1))
    tunnels_faults.work(cast("list[tunnels_region.BenchRegion]", yards), waiting, told.append)
    return told, list(waiting)


def test_all_faults_are_suffered_once_whichever_yard_is_free() -> None:
    told, waiting = worked(Yard(healed), Yard(healed), Yard(lost))
    assert sorted(one.name for one in told) == sorted(one.name for one in tunnels_region.draws(20, 1))
    assert not waiting


def test_a_yard_that_nobody_can_mend_takes_no_more() -> None:
    told, waiting = worked(Yard(lost, mends=False), Yard(lost, mends=False))
    assert (len(told), len(waiting)) == (2, 18)


def test_a_yard_that_breaks_ends_all() -> None:
    def broken(draw: Draw) -> Fault:
        raise WorldError("the server is gone")

    def endless(draw: Draw) -> Fault:
        assert other.over.wait(SECONDS)
        return lost(draw)

    other = Yard(endless)
    with pytest.raises(WorldError, match="the server is gone"):
        worked(other, Yard(broken))


def test_a_seed_draws_the_same_faults_and_all_kinds_of_them() -> None:
    drawn = tunnels_region.draws(200, 1)
    assert drawn == tunnels_region.draws(200, 1) != tunnels_region.draws(200, 2)
    assert {draw.name for draw in drawn} == set(tunnels_region._NAMES)
    assert all(3 <= draw.thaw <= 25 for draw in drawn)
