"""What the bench of random faults holds for a double heal, and its figures; its run is `./lamp bench tunnels`."""

import pytest

from commands import bench_tunnels_faults
from commands.bench_tunnels_doubles import Fault, Removal, Restart, doubles, p99, rows

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
        "rounds of both healers": (9, True), "rounds that came second": (3, True), "acts overtaken": (2, True),
        "rounds that failed": (1, True)}


def test_all_is_well_when_all_limits_are_kept() -> None:
    assert all(row.within for row in rows([Fault("one ssh hung", 60.0, "restart")], 1, 10, 0, (1, 0, 0, 0)))


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (99, 99), (100, 99), (500, 495)])
def test_p99_is_the_nearest_rank(count: int, rank: int) -> None:
    assert p99([float(one) for one in range(count, 0, -1)]) == rank


def test_a_seed_draws_the_same_faults_and_all_kinds_of_them() -> None:
    drawn = bench_tunnels_faults.draws(200, 1)
    assert drawn == bench_tunnels_faults.draws(200, 1) != bench_tunnels_faults.draws(200, 2)
    assert {draw.name for draw in drawn} == set(bench_tunnels_faults._NAMES)
    assert all(3 <= draw.thaw <= 25 for draw in drawn)
