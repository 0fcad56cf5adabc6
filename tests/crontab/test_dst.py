"""Changes of clocks: Debian's own verdicts, all zones of the world, and the daemon's loop told a second time."""

import gzip
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.crontab import calendar, dst, zones
from chalicelib.crontab.expression import Expression, parse
from tests.crontab import oracle
from tests.crontab.strategies import ZONES, expressions, minutes, tzs

GOLDEN = Path(__file__).parent.parent / "golden" / "cron"

# Between two skipped minutes for which it has run something the daemon waits ten seconds for its children. With more
# than five such minutes the wall clock moves on, and what is left to make up for runs one minute late or more. That
# depends on what else is in the crontab; here nothing waits, and all of it runs at the minute of the change. Such are
# (zone, schedule) -> the minutes at which the daemon was still making up for the gap.
DRAINED = {
    ("Antarctica/Troll", "1,* 1 */2 * sun,sat"): range(28_530_781, 28_530_789),
    ("Europe/Dublin", "1,* 1 */2 * sun,sat"): range(28_530_781, 28_530_789),
    ("Pacific/Apia", "0-10 3 * * sun,sat"): range(21_947_881, 21_947_882),
}


def golden(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(GOLDEN / name, "rt") as lines:
        yield from map(json.loads, lines)


# The daemon was started at `start_utc_min`: it ran nothing for that minute itself.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "cases"), [("dst_fires.jsonl.gz", 5125), ("dst_odd_zones.jsonl.gz", 1317)])
def test_debians_own_verdicts(name: str, cases: int) -> None:
    disagreed = {}
    rows = list(golden(name))
    for row in rows:
        ours = dst.fires(parse(row["expr"]), row["tz"], row["start_utc_min"] + 1, row["end_utc_min"])
        if ours != sorted(set(row["fires_utc_min"])):
            disagreed[row["tz"], row["expr"]] = set(row["fires_utc_min"]) ^ set(ours)
    assert len(rows) == cases
    assert disagreed == ({key: set(late) for key, late in DRAINED.items()} if name == "dst_fires.jsonl.gz" else {})


@pytest.mark.slow
def test_debians_own_repeats_are_slots_of_their_own() -> None:
    """Where the daemon was recorded to run a job more than once in a minute, there are as many slots."""
    rows = [row for name in ("dst_fires.jsonl.gz", "dst_odd_zones.jsonl.gz") for row in golden(name)]
    repeated = [row for row in rows if len(row["fires_utc_min"]) > len(set(row["fires_utc_min"]))
                and (row["tz"], row["expr"]) not in DRAINED]
    assert len(repeated) > 70
    for row in repeated:
        slots = dst.slots(parse(row["expr"]), row["tz"], row["start_utc_min"] + 1, row["end_utc_min"])
        assert sorted({slot.name: slot.minute for slot in slots}.values()) == sorted(row["fires_utc_min"]), row


@pytest.mark.slow
@settings(max_examples=80)
@given(st.data(), tzs, expressions, st.integers(1, 2500))
def test_fires_are_those_of_the_loop_minute_by_minute(
    data: st.DataObject, tz: str, expression: Expression, length: int
) -> None:
    start = data.draw(minutes(tz))
    expected = [(wake.minute, local) for wake in oracle.wakes(tz, start, start + length)
                for local in oracle.seen(expression, wake)]
    assert dst.fires(expression, tz, start, start + length) == list(dict.fromkeys(m for m, _ in expected))
    assert [(slot.minute, slot.local) for slot in dst.slots(expression, tz, start, start + length)] == expected


@pytest.mark.slow
@settings(max_examples=40)
@given(st.data(), tzs, expressions)
def test_every_minute_is_explained(data: st.DataObject, tz: str, expression: Expression) -> None:
    start = data.draw(minutes(tz, before=200))
    for wake in oracle.wakes(tz, start, start + 250):
        verdict = dst.explain(expression, tz, wake.minute)
        seen, shown = oracle.seen(expression, wake), oracle.local(tz, wake.minute)
        if seen:
            assert verdict.kind == ("due" if shown in seen else "moved")
            assert verdict.local in seen
        else:
            again = not expression.wildcard and not wake.fixed and oracle.matches(expression, shown)
            assert (verdict.kind, verdict.local) == ("suppressed" if again else "not due", shown)


@pytest.mark.slow
def test_no_change_of_clocks_can_be_overlooked() -> None:
    for tz in ZONES:
        known = oracle.changes(tz)
        assert all(after - before > zones.STEP for before, after in pairwise(known)), tz


@pytest.mark.slow
@settings(max_examples=200)
@given(st.data(), tzs)
def test_stretches_cover_every_minute_once(data: st.DataObject, tz: str) -> None:
    start = data.draw(minutes(tz))
    end = start + data.draw(st.integers(1, 100_000))
    found = zones.stretches(tz, start, end)
    assert [found[0].start, *(s.end for s in found)] == [*(s.start for s in found), end]
    assert all(stretch.start < stretch.end for stretch in found)
    assert zones.stretch(tz, start)[2:] == found[0][2:]


# What separates one kind of change from the next, and more than any zone has done.
LEAPS = st.one_of(st.sampled_from([1, 4, 5, 6, 178, 179, 180, 181]), st.integers(1, 500)).flatmap(
    lambda leap: st.sampled_from([leap, -leap]))


@pytest.mark.slow
@settings(max_examples=120)
@given(st.lists(st.tuples(st.integers(1, 300), LEAPS), min_size=1, max_size=5))
def test_changes_that_no_zone_has_made_yet(changes: list[tuple[int, int]]) -> None:
    offsets = [(0, 0)]
    for wait, leap in changes:
        offsets.append((offsets[-1][0] + wait, offsets[-1][1] + leap))
    end = offsets[-1][0] + 600
    clock = {minute: minute + [offset for at, offset in offsets if at <= minute][-1] for minute in range(end)}
    stretches = list(zones._walk(offsets, end))
    for wake in oracle.loop(clock.__getitem__, 0, 0, end):
        (stretch,) = (s for s in stretches if s.start <= wake.minute < s.end)
        assert list(stretch.seen(wake.minute, wildcard=True)) == wake.wildcard
        assert list(stretch.seen(wake.minute, wildcard=False)) == wake.fixed


@pytest.mark.slow
@pytest.mark.parametrize("tz", ["Antarctica/Vostok", "Pacific/Kwajalein", "Antarctica/Troll", "Australia/Lord_Howe"])
def test_where_one_begins_to_look_makes_no_difference(tz: str) -> None:
    for change in oracle.changes(tz)[-6:]:
        whole = list(dst.slots(parse("0-59 0-23 * * *"), tz, change - 100, change + 1600))
        for start in range(change - 100, change + 1600, 77):
            found = list(dst.slots(parse("0-59 0-23 * * *"), tz, start, change + 1600))
            assert found == [slot for slot in whole if slot.minute >= start]


def utc(text: str) -> int:
    return (datetime.fromisoformat(text) - oracle.EPOCH) // timedelta(minutes=1)


def stamps(schedule: str, tz: str, start: str, end: str) -> list[str]:
    """`UTC minute > slot` of each occasion, the day left out of the first."""
    slots = dst.slots(parse(schedule), tz, utc(start), utc(end))
    return [f"{dst.stamp(slot.minute)[11:]} > {slot.name}" + " moved" * slot.moved for slot in slots]


@pytest.mark.parametrize(("schedule", "tz", "start", "end", "expected"), [
    # An hour is skipped: jobs of fixed time run at once, wildcard jobs go by the wall.
    ("30 2 * * *", "Europe/Stockholm", "2026-03-29", "2026-03-30", ["01:00 > 2026-03-29T02:30 moved"]),
    ("0,30 2-3 * * *", "Europe/Stockholm", "2026-03-29", "2026-03-29T03:00",
     ["01:00 > 2026-03-29T02:00 moved", "01:00 > 2026-03-29T02:30 moved", "01:00 > 2026-03-29T03:00",
      "01:30 > 2026-03-29T03:30"]),
    ("*/30 * * * *", "Europe/Stockholm", "2026-03-29T00:30", "2026-03-29T01:30",
     ["00:30 > 2026-03-29T00:30Z", "01:00 > 2026-03-29T01:00Z"]),
    ("*/30 2 * * *", "Europe/Stockholm", "2026-03-29", "2026-03-30", []),
    # An hour comes twice: only wildcard jobs run twice.
    ("30 2 * * *", "Europe/Stockholm", "2026-10-25", "2026-10-26", ["00:30 > 2026-10-25T02:30"]),
    ("*/30 2 * * *", "Europe/Stockholm", "2026-10-25", "2026-10-26",
     ["00:00 > 2026-10-25T00:00Z", "00:30 > 2026-10-25T00:30Z", "01:00 > 2026-10-25T01:00Z",
      "01:30 > 2026-10-25T01:30Z"]),
    # Half an hour, forward and back.
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", "2026-10-04", ["15:30 > 2026-10-04T02:15 moved"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", "2026-04-05", ["14:45 > 2026-04-05T01:45"]),
    ("30 3 * * *", "Pacific/Chatham", "2026-09-26", "2026-09-27", ["14:00 > 2026-09-27T03:30 moved"]),
    # Two hours.
    ("0 1,2,3 * * *", "Antarctica/Troll", "2026-03-28T23:30", "2026-03-29T02:00",
     ["01:00 > 2026-03-29T01:00 moved", "01:00 > 2026-03-29T02:00 moved", "01:00 > 2026-03-29T03:00"]),
    # Three hours forward is more than the daemon makes up for; three hours back is not too much to hold still.
    ("0 4-8 * * *", "Antarctica/Casey", "2018-10-06T19:30", "2018-10-06T22:00",
     ["20:00 > 2018-10-07T07:00", "21:00 > 2018-10-07T08:00"]),
    ("0 1,2 * * *", "Antarctica/Casey", "2018-03-10T12:00", "2018-03-10T20:00",
     ["14:00 > 2018-03-11T01:00", "15:00 > 2018-03-11T02:00"]),
    # A day is left out: nothing is made up for.
    ("0 12 * * *", "Pacific/Apia", "2011-12-29", "2011-12-31",
     ["22:00 > 2011-12-29T12:00", "22:00 > 2011-12-31T12:00"]),
    # Seven hours come twice, beyond what the daemon remembers: they run twice, told apart.
    ("0 23 * * *", "Antarctica/Vostok", "1994-01-31", "1994-02-01",
     ["16:00 > 1994-01-31T23:00", "23:00 > 1994-01-31T23:00#2"]),
    # Its offset had seconds: the local minute begins in the middle of a UTC one.
    ("0 12 * * *", "Africa/Monrovia", "1971-06-01", "1971-06-02", ["12:44 > 1971-06-01T12:00"]),
    ("30 0 * * *", "Africa/Monrovia", "1972-01-06T12:00", "1972-01-08", ["00:44 > 1972-01-07T00:30 moved"]),
])  # fmt: skip
def test_odd_clocks(schedule: str, tz: str, start: str, end: str, expected: list[str]) -> None:
    assert stamps(schedule, tz, start, end) == expected


@pytest.mark.parametrize(("schedule", "minute", "kind", "local", "field"), [
    ("30 2 * * *", "2026-03-29T01:00", "moved", "2026-03-29T02:30", ""),
    ("30 2 * * *", "2026-10-25T00:30", "due", "2026-10-25T02:30", ""),
    ("30 2 * * *", "2026-10-25T01:30", "suppressed", "2026-10-25T02:30", ""),
    ("*/30 2 * * *", "2026-10-25T01:30", "due", "2026-10-25T02:30", ""),
    ("*/30 2 * * *", "2026-03-29T01:00", "not due", "2026-03-29T03:00", "hour"),
    ("30 2 * * *", "2026-06-01T00:31", "not due", "2026-06-01T02:31", "minute"),
    ("30 2 * * *", "2026-06-01T01:30", "not due", "2026-06-01T03:30", "hour"),
    ("30 2 * 7 *", "2026-06-01T00:30", "not due", "2026-06-01T02:30", "month"),
    ("30 2 2 * *", "2026-06-01T00:30", "not due", "2026-06-01T02:30", "day"),
    ("30 2 2 * mon", "2026-06-01T00:30", "due", "2026-06-01T02:30", ""),
    ("30 2 */2 * tue", "2026-06-01T00:30", "not due", "2026-06-01T02:30", "day"),
])
def test_one_reason_for_a_minute(schedule: str, minute: str, kind: str, local: str, field: str) -> None:
    verdict = dst.explain(parse(schedule), "Europe/Stockholm", utc(minute))
    assert (verdict.kind, dst.stamp(verdict.local), verdict.field) == (kind, local, field)
    assert bool(verdict.slot) == (kind in ("due", "moved"))


def test_the_slot_in_an_explanation_is_the_one_that_runs() -> None:
    for schedule in ("30 2 * * *", "*/30 2 * * *"):
        expression = parse(schedule)
        for slot in dst.slots(expression, "Europe/Stockholm", utc("2026-03-28"), utc("2026-03-31")):
            assert dst.explain(expression, "Europe/Stockholm", slot.minute).slot == slot.name


@pytest.mark.slow
@pytest.mark.parametrize("tz", ["Antarctica/Vostok", "Pacific/Kwajalein", "Europe/Stockholm", "Pacific/Apia"])
def test_no_two_runs_share_a_slot(tz: str) -> None:
    for change in oracle.changes(tz)[-6:]:
        for schedule in ("0-59 0-23 * * *", "* * * * *"):
            names = [slot.name for slot in dst.slots(parse(schedule), tz, change - 3000, change + 3000)]
            assert len(set(names)) == len(names) > 4000


@pytest.mark.parametrize(("schedule", "expected"), [
    ("0 0 29 2 *", "2104-02-29T00:00"), ("59 23 31 12 *", "2096-12-31T23:59"), ("* * * * *", "2096-03-01T00:00"),
    ("0 0 30 2 *", None), ("5 4 * * sun", "2096-03-04T04:05"),
])
def test_the_next_fire(schedule: str, expected: str | None) -> None:
    found = dst.next_fire(parse(schedule), "UTC", utc("2096-03-01"))
    assert (found if found is None else dst.stamp(found)) == expected


@pytest.mark.parametrize("name", ["", "Europe/Stokholm", "europe/stockholm", "../zones", "/etc/localtime", "zones",
                                  "x" * 5000])
def test_an_unknown_zone_is_named(name: str) -> None:
    with pytest.raises(dst.UnknownZone, match="unknown time zone") as error:
        dst.fires(parse("* * * * *"), name, 0, 10)
    assert "Europe/Stockholm" in str(error.value)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(("start", "end"), [(0, 10**10), (-(10**10), 0), (10, 5)])
def test_times_beyond_the_calendar_are_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="not within the years 1 to 9998"):
        dst.fires(parse("* * * * *"), "Europe/Stockholm", start, end)


def test_the_calendar_reaches_as_far_as_is_said() -> None:
    for edge in (zones.EARLIEST, zones.LATEST - 10):
        for tz in ("Asia/Manila", "Europe/Stockholm", "Pacific/Kiritimati"):
            assert len(dst.fires(parse("* * * * *"), tz, edge, edge + 10)) == 10


@given(st.integers(0, 2**200 - 1))
def test_bits_are_those_set(mask: int) -> None:
    assert list(calendar.bits(mask)) == [bit for bit in range(200) if mask >> bit & 1]
