"""The benchmark of schedules asks everybody the same, and says when a limit is broken."""

import pytest

from chalicelib.crontab import timetable
from chalicelib.crontab.calendar import bits
from chalicelib.crontab.timetable import Timetable
from commands.bench import peers, schedules
from commands.bench.schedules_generate import ZONES, crowd


@pytest.mark.parametrize("name", peers.PEERS)
def test_peers_give_the_same_answers(name: str) -> None:
    if peers.version(name) is None:
        pytest.skip(f"{name} is not installed: ./lamp bench schedules fetches it")
    jobs = crowd(150)
    table, ask = Timetable.load(timetable.build(jobs)), peers.ask(name, jobs)
    for minute in (29_720_160, 29_720_161, 29_725_550):
        assert ask(minute) == list(bits(table.due(minute).bitmap))


def test_a_crowd_is_always_the_same_and_lives_everywhere() -> None:
    jobs = crowd(1000)
    assert jobs == crowd(1000) != crowd(1000, seed=2)
    assert {job.tz for job in jobs} == set(ZONES)
    assert len(ZONES) == 40


def test_a_figure_has_a_limit() -> None:
    figure = schedules.crontab(500)
    assert figure.value > 0
    assert figure.within == (figure.value <= figure.limit) and figure.limit


@pytest.mark.parametrize(("answers", "differing"), [([], 0), ([-1], 2)])
def test_a_peer_must_be_left_far_behind_with_the_same_answers(
    answers: list[int], differing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = crowd(50)
    table = Timetable.load(timetable.build(jobs))
    monkeypatch.setattr(peers, "version", lambda peer: "2.8")
    monkeypatch.setattr(peers, "ask", lambda peer, jobs: lambda minute: [
        *bits(table.due(minute).bitmap), *answers])
    spent, times, wrong = schedules._peer("cronsim", jobs)
    assert spent.value > 0 and not times.within and times.limit == 500
    assert wrong.value == differing and wrong.within == (not differing)


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "version", lambda peer: None)
    assert list(schedules._peer("cronsim", crowd(5))) == []
