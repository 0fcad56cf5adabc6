"""Gained and lost fires, against sets of minutes that were listed one by one."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.crontab import dst
from chalicelib.crontab.diff import Change, Window, compare, firings
from chalicelib.crontab.expression import Expression, parse
from chalicelib.crontab.job import Job, Policy
from testing.jobs import crowd
from tests.crontab import oracle
from tests.crontab.strategies import expressions, jobs, minutes, tzs

DAY = 1440


def listed(expression: Expression, tz: str, window: Window) -> list[int]:
    return dst.fires(expression, tz, window.first * DAY, (window.first + window.length) * DAY)


@pytest.mark.slow
@settings(max_examples=80)
@given(st.data(), tzs, expressions, st.integers(1, 500))
def test_firings_are_the_fires(data: st.DataObject, tz: str, expression: Expression, length: int) -> None:
    window = Window(data.draw(minutes(tz)) // DAY, length)
    found, expected = firings(expression, tz, window), listed(expression, tz, window)
    assert list(found) == expected
    assert len(found) == len(expected)


@pytest.mark.slow
@settings(max_examples=80)
@given(st.data(), tzs, tzs, expressions, expressions)
def test_differences_are_those_of_sets(
    data: st.DataObject, tz: str, other_tz: str, expression: Expression, other: Expression
) -> None:
    window = Window(data.draw(minutes(tz)) // DAY, data.draw(st.integers(1, 60)))
    before, after = firings(expression, tz, window), firings(other, other_tz, window)
    expected = set(listed(expression, tz, window)) - set(listed(other, other_tz, window))
    assert list(before - after) == sorted(expected)
    assert len(before - after) == len(expected)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.data())
def test_changes_are_those_of_brute_force(data: st.DataObject) -> None:
    among = ["Europe/Stockholm", "UTC", "Australia/Lord_Howe"]
    before, after = ([data.draw(jobs(number, among)) for number in data.draw(st.sets(st.integers(0, 6)))]
                     for _ in range(2))
    window = Window(data.draw(minutes(among[0])) // DAY, data.draw(st.integers(1, 20)))
    old, new = ({job.name: set(listed(job.expression, job.tz, window)) for job in side} for side in (before, after))
    expected = {name: (sorted(new.get(name, set()) - old.get(name, set())),
                       sorted(old.get(name, set()) - new.get(name, set()))) for name in old.keys() | new.keys()}
    changes = compare(before, after, window)
    assert {change.name: (list(change.gained), list(change.lost)) for change in changes} == {
        name: both for name, both in expected.items() if any(both)}
    assert [change.name for change in changes] == sorted(change.name for change in changes)


def test_a_gap_at_midnight_utc_is_counted_once() -> None:
    # Damascus, 1920-04-18: 02:00 to 02:59 was skipped at 00:00 UTC, and 03:00 is a fire of its own.
    window = Window(-18_155, 1)
    found = firings(parse("0-59 0-23 * * *"), "Asia/Damascus", window)
    assert len(found) == len(list(found)) == 1440
    # 02:30 is made up for at that minute, and comes again at 23:30 UTC.
    assert len(found - firings(parse("30 2 * * *"), "Asia/Damascus", window)) == 1438


def job(schedule: str, tz: str = "Europe/Stockholm", name: str = "cron.d/job") -> Job:
    return Job(name, parse(schedule), schedule, tz, "true", "", {}, "root", None, Policy(), "cron.d/jobs", 1, "crontab")


WEEK = Window(oracle.local("UTC", 29_579_040) // DAY, 7)  # 2026-03-29, the day on which clocks go forward, and six more


def only(before: list[Job], after: list[Job]) -> Change:
    (change,) = compare(before, after, WEEK)
    return change


def test_a_new_job_only_gains_and_one_gone_only_loses() -> None:
    added, removed = only([], [job("0 12 * * *")]), only([job("0 12 * * *")], [])
    assert (added.before, added.after, len(added.gained), len(added.lost)) == ("", "0 12 * * * Europe/Stockholm", 7, 0)
    assert (removed.before, removed.after, len(removed.gained), len(removed.lost)) == (added.after, "", 0, 7)


def test_a_star_written_out_changes_what_the_skipped_hour_does() -> None:
    change = only([job("*/30 2 * * *")], [job("0,30 2 * * *")])
    assert ([dst.stamp(minute) for minute in change.gained], list(change.lost)) == (["2026-03-29T01:00"], [])


def test_another_zone_moves_every_fire() -> None:
    gained, lost = only([job("0 12 * * *")], [job("0 12 * * *", "UTC")]).examples(2)
    assert [dst.stamp(minute) for minute in gained] == ["2026-03-29T12:00", "2026-03-30T12:00"]
    assert [dst.stamp(minute) for minute in lost] == ["2026-03-29T10:00", "2026-03-30T10:00"]


@pytest.mark.parametrize("other", [
    job("0,0 12 * * *"), msgspec.structs.replace(job("0 12 * * *"), command="false", line=9),
    job("0 12 * * 0-7"), job("00 12 1-31 * *")])
def test_the_same_fires_are_no_change(other: Job) -> None:
    assert compare([job("0 12 * * *")], [other], WEEK) == []


@pytest.mark.slow
def test_what_a_crowd_gains_and_loses_in_400_days_is_what_it_has_more_or_less_afterwards() -> None:
    before, after, window = crowd(1_000, 1), crowd(1_000, 2), Window(20_700, 400)
    changes = compare(before, after, window)
    gained, lost = sum(len(change.gained) for change in changes), sum(len(change.lost) for change in changes)
    had, has = (sum(len(firings(job.expression, job.tz, window)) for job in jobs) for jobs in (before, after))
    assert gained - lost == has - had
    assert gained > 10**6 and lost > 10**6
    for change in changes:
        more, less = change.examples()
        assert more or less
        assert not set(more) & set(less)
