"""The benchmark of schedules asks everybody the same, and says when a limit is broken."""

import importlib.metadata

import pytest

from chalicelib.crontab import timetable
from chalicelib.crontab.calendar import bits
from chalicelib.crontab.timetable import Timetable
from commands.bench import peers, schedules
from commands.bench.figures import Figure
from commands.develop import groups
from testing.jobs import ZONES, crowd


@pytest.mark.slow
@pytest.mark.parametrize("name", peers.PEERS)
def test_peers_give_the_same_answers(name: str) -> None:
    if groups.lacking("bench"):
        pytest.skip(f"{name} is not installed: ./lamp bench schedules fetches it")
    jobs = crowd(150)
    table, ask = Timetable.load(timetable.build(jobs)), peers.ask(name, jobs)
    for minute in (29_720_160, 29_720_161, 29_725_550):
        assert ask(minute) == list(bits(table.due(minute).bitmap))


@pytest.mark.slow
def test_a_crowd_is_always_the_same_and_lives_everywhere() -> None:
    jobs = crowd(1000)
    assert jobs == crowd(1000) != crowd(1000, seed=2)
    assert {job.tz for job in jobs} == set(ZONES)
    assert len(ZONES) == 40


@pytest.mark.slow
def test_a_figure_has_a_limit() -> None:
    figure = schedules.crontab(500)
    assert figure.value > 0
    assert figure.within == (figure.value <= figure.limit) and figure.limit


@pytest.mark.parametrize(("answers", "differing"), [([], 0), ([-1], 2)])
def test_a_peer_must_be_left_far_behind_with_the_same_answers(
    answers: list[int], differing: int
) -> None:
    jobs = crowd(50)
    ours = schedules._ask(jobs)
    spent, times, wrong = schedules._peer("cronsim 2.8", lambda minute: [*ours(minute), *answers], ours)
    assert spent.value > 0 and not times.within and times.limit == 500
    assert wrong.value == differing and wrong.within == (not differing)


@pytest.mark.slow
@pytest.mark.parametrize("lacking", [[], ["cronsim"]])
def test_peers_that_are_not_installed_are_left_out(lacking: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "lacking", lambda group: lacking)
    monkeypatch.setattr(schedules, "crowd", lambda count, seed=1: crowd(10, seed))
    monkeypatch.setattr(schedules, "crontab", lambda lines: Figure("crontab", 1))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.8")
    monkeypatch.setattr(peers, "ask", lambda name, jobs: schedules._ask(jobs))
    named = {figure.name.partition(" 2.8:")[0] for figure in schedules._measure() if " 2.8:" in figure.name}
    assert named == (set() if lacking else set(peers.PEERS))
