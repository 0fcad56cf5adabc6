"""The benchmark of schedules asks everybody the same, and says when a limit is broken."""

from collections.abc import Callable

import pytest

from chalicelib.crontab import timetable
from chalicelib.crontab.calendar import bits
from chalicelib.crontab.timetable import Timetable
from commands import cli
from commands.bench import peers, schedules
from commands.bench.schedules import Peer, Row
from commands.bench.schedules_generate import ZONES, crowd


@pytest.mark.parametrize("name", peers.PEERS)
def test_peers_give_the_same_answers(name: str) -> None:
    if peers.version(name) is None:
        pytest.skip(f"{name} is not installed: ./lamp bench schedules fetches it")
    jobs = crowd(150)
    table, ask = Timetable.load(timetable.build(jobs)), peers.PEERS[name](jobs)
    for minute in (29_720_160, 29_720_161, 29_725_550):
        assert ask(minute) == list(bits(table.due(minute).bitmap))


def test_a_crowd_is_always_the_same_and_lives_everywhere() -> None:
    jobs = crowd(1000)
    assert jobs == crowd(1000) != crowd(1000, seed=2)
    assert {job.tz for job in jobs} == set(ZONES)
    assert len(ZONES) == 40


@pytest.mark.parametrize(("row", "jobs", "rounds"), [
    (lambda: schedules._reading(500), 500, 3), (schedules._start, 0, schedules.ROUNDS)])
def test_a_row_says_what_was_measured(row: Callable[[], Row], jobs: int, rounds: int) -> None:
    found = row()
    assert (found.jobs, found.rounds) == (jobs, rounds)
    assert found.limit_ms is not None and found.within == (found.median_ms <= found.limit_ms)
    assert found.median_ms > 0


@pytest.mark.parametrize(("peer", "within"), [
    (Peer("cronsim", "2.8", 100, 499.9, 500), False), (Peer("cronsim", "2.8", 100, 500.1, 500), True),
    (Peer("cronsim", "2.8", 100, 600, 500, differing=1), False), (Peer("cronsim", None), True),
    (Peer("celery", "5.7.0", 100, 3), True)])
def test_a_peer_must_be_left_far_behind_with_the_same_answers(peer: Peer, within: bool) -> None:
    assert peer.within == within


@pytest.mark.parametrize(("results", "status", "told"), [
    ([Row("due", 10_000, 0.1, 1, True), Peer("cronsim", "2.8", 150, 1500, 500)], 0, ["0.100", "cronsim 2.8", "1,500"]),
    ([Row("due", 10_000, 1.1, 1, False)], 1, ["1.100"]),
    ([Peer("cronsim", "2.8", 150, 150, 500)], 1, ["at least 500"]),
    ([Peer("croniter", "7.0.0", 150, 150, differing=3)], 1, ["3 answers differ"]),
    ([Peer("croniter", None)], 0, ["not installed"]),
])
def test_a_broken_limit_ends_in_failure(
    results: list[Row | Peer], status: int, told: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(schedules, "_measure", lambda: iter(results))
    assert cli.main(["bench", "schedules"]) == status
    shown = " ".join(capsys.readouterr().out.split())
    assert all(part in shown for part in told)
