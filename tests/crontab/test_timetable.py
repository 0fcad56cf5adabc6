"""The index against looking at every job, and the files against damage. `./lamp bench schedules` tells the speed."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.crontab import job_file, timetable, zones
from chalicelib.crontab.calendar import bits
from chalicelib.crontab.container import Damaged
from chalicelib.crontab.dst import FireTime, slot_name
from chalicelib.crontab.expression import parse
from chalicelib.crontab.job import Job, Policy
from chalicelib.crontab.job_file import JobFile
from chalicelib.crontab.timetable import Timetable
from testing.jobs import crowd
from tests.crontab import oracle, strategies


def job(schedule: str, tz: str = "UTC", name: str = "cron.d/job") -> Job:
    return Job(name, parse(schedule), schedule, tz, "true", "", {}, "root", None, Policy(), "cron.d/jobs", 7, "crontab")


def table(jobs: Sequence[Job]) -> Timetable:
    return Timetable.load(timetable.build(jobs))


def expected(jobs: Sequence[Job], start: int, end: int) -> dict[int, list[tuple[int, str, bool]]]:
    """By UTC minute: (job, slot, moved) of all that is due, found by asking every job for every minute."""
    found: dict[int, list[tuple[int, str, bool]]] = {minute: [] for minute in range(start, end)}
    wakes = {tz: list(oracle.wakes(tz, start, end)) for tz in {one.tz for one in jobs}}
    for number, one in enumerate(jobs):
        for wake in wakes[one.tz]:
            shown = oracle.local(one.tz, wake.minute)
            slots = {(number, slot_name(wake.minute, local, one.expression.wildcard),
                      local != shown and not one.expression.wildcard) for local in oracle.seen(one.expression, wake)}
            found[wake.minute] += sorted(slots)
    return {minute: sorted(due) for minute, due in found.items()}


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[Job], int]:
    """Some jobs in a few zones, and a minute around a change of clocks of one of them."""
    among = draw(st.lists(strategies.tzs, min_size=1, max_size=3))
    count = draw(st.integers(1, 20))
    return [draw(strategies.jobs(number, among)) for number in range(count)], draw(strategies.minutes(among[0], 150))


@pytest.mark.slow
@settings(max_examples=30)
@given(fleets())
def test_due_is_what_asking_every_job_gives(fleet: tuple[list[Job], int]) -> None:
    jobs, start = fleet
    built = table(jobs)
    for minute, due in expected(jobs, start, start + 160).items():
        answer = built.due(minute)
        # A job that runs for a slot a second time, after a long way back, is told apart by the mark at its end.
        fires = [(fire.job, fire.slot.removesuffix("#2"), fire.moved) for fire in answer.fires()]
        assert sorted(fires) == due
        assert set(bits(answer.bitmap)) == {number for number, _, _ in due}


@pytest.mark.slow
@settings(max_examples=30)
@given(fleets(), st.integers(1, 4000))
def test_missed_is_all_that_was_due_in_between(fleet: tuple[list[Job], int], length: int) -> None:
    jobs, start = fleet
    built = table(jobs)
    due: dict[int, list[FireTime]] = {}
    for minute in range(start, start + length):
        for fire in built.due(minute).fires():
            due.setdefault(fire.job, []).append(FireTime(minute, 0, fire.slot, fire.moved))
    missed = {one.job: one for one in built.missed(start, start + length)}
    assert missed.keys() == due.keys()
    for number, one in missed.items():
        slots = [slot._replace(local=0) for slot in one.slots()]
        since = start + length // 2
        assert list(dict.fromkeys(slot.name for slot in slots)) == list(dict.fromkeys(
            slot.name for slot in sorted(due[number])))
        assert {(slot.minute, slot.name) for slot in slots} == {(slot.minute, slot.name) for slot in due[number]}
        assert one.count == len(slots)
        assert one.latest._replace(local=0) == slots[-1]
        assert [slot._replace(local=0) for slot in one.slots(since)] == [s for s in slots if s.minute >= since]


def test_slots_of_the_hour_that_is_skipped_and_of_the_one_that_repeats() -> None:
    jobs = [job("30 2 * * *", "Europe/Stockholm", "a"), job("*/30 * * * *", "Europe/Stockholm", "b"),
            job("0 3 * * *", "Europe/Stockholm", "c"), job("0 1 * * *", "UTC", "d")]
    built = table(jobs)
    assert sorted((f.job, f.slot, f.moved) for f in built.due(oracle_utc("2026-03-29T01:00")).fires()) == [
        (0, "2026-03-29T02:30", True), (1, "2026-03-29T01:00Z", False), (2, "2026-03-29T03:00", False),
        (3, "2026-03-29T01:00", False)]
    assert [(f.job, f.slot) for f in built.due(oracle_utc("2026-10-25T01:30")).fires()] == [(1, "2026-10-25T01:30Z")]


def test_wildcard_jobs_run_for_a_gap_of_a_few_minutes() -> None:
    # Tehran, 1935-06-13: 23:59 was followed by 00:04.
    jobs, change = [job("*/59 0 * * *", "Asia/Tehran"), job("4 0 * * *", "Asia/Tehran", "b")], -18_174_446
    due = expected(jobs, change - 2, change + 3)
    assert sorted(number for fires in due.values() for number, _, _ in fires) == [0, 1]
    built = table(jobs)
    for minute, fires in due.items():
        assert sorted((fire.job, fire.slot, fire.moved) for fire in built.due(minute).fires()) == fires


def test_slots_that_come_twice_are_told_apart() -> None:
    built = table([job("0 23 * * *", "Antarctica/Vostok")])
    slots = [fire.slot for minute in ("1994-01-31T16:00", "1994-01-31T23:00")
             for fire in built.due(oracle_utc(minute)).fires()]
    assert slots == ["1994-01-31T23:00", "1994-01-31T23:00#2"]


def oracle_utc(text: str) -> int:
    return (datetime.fromisoformat(text) - oracle.EPOCH) // timedelta(minutes=1)


def test_no_jobs_are_never_due() -> None:
    built, book = table([]), JobFile.load(job_file.build([]))
    assert built.due(29_000_000).bitmap == 0
    assert list(built.missed(29_000_000, 29_001_000)) == []
    assert (len(book), book.find("a")) == (0, None)


def test_the_digest_tells_of_schedules_zones_names_and_order() -> None:
    base = [job("5 * * * *", name="a"), job("6 * * * *", name="b")]
    others = [base[::-1], base[:1], [base[0], job("7 * * * *", name="b")], [base[0], job("6 * * * *", name="c")],
              [base[0], job("6 * * * *", "Europe/Stockholm", "b")]]
    digests = [table(jobs).digest for jobs in [base, *others]]
    assert len(set(digests)) == len(digests)
    assert timetable.build(base) == timetable.build(list(base))
    assert all(len(digest) == 64 for digest in digests)


def test_a_zone_that_does_not_exist_is_named_with_its_place() -> None:
    with pytest.raises(zones.UnknownZone, match=r"cron\.d/jobs:7: unknown time zone 'Europe/Stokholm': write"):
        timetable.build([job("* * * * *", "Europe/Stokholm")])


def test_a_timetable_made_with_other_zone_data_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    built = timetable.build([job("* * * * *")])
    monkeypatch.setattr(zones, "version", lambda: "1999z")
    with pytest.raises(Damaged, match=r"it was made with tzdata 20\d\d\w, here is 1999z\). Package the release again"):
        Timetable.load(built)


def use_timetable(data: bytes) -> object:
    built = Timetable.load(data)
    due = [built.due(minute).bitmap for minute in range(29_000_000, 29_050_000, 997)]
    return due, [(one.count, one.latest) for one in built.missed(29_000_000, 29_600_000)]


def use_book(data: bytes) -> object:
    book = JobFile.load(data)
    return [book[number] for number in range(len(book))], [book.find(f"servers/job-{number}") for number in range(9)]


@pytest.mark.parametrize(("data", "use"), [
    (timetable.build(crowd(9)), use_timetable), (job_file.build(crowd(9)), use_book)], ids=["timetable", "jobs"])
class TestDamage:
    """Every byte counts: a file that is not what was written is refused or, unread, does no harm."""

    @pytest.mark.slow
    def test_cut_short(self, data: bytes, use: Callable[[bytes], object]) -> None:
        for length in range(len(data)):
            with pytest.raises(Damaged, match="Package the release again"):
                use(data[:length])

    def test_something_added(self, data: bytes, use: Callable[[bytes], object]) -> None:
        with pytest.raises(Damaged, match="bytes follow its header instead of"):
            use(data + b"\0")

    @pytest.mark.slow
    def test_a_byte_changed(self, data: bytes, use: Callable[[bytes], object]) -> None:
        before, refused = use(data), 0
        for at in range(len(data)):
            changed = bytearray(data)
            changed[at] ^= 0x40
            try:
                assert use(bytes(changed)) == before
            except Damaged as error:
                assert "Package the release again" in str(error)
                refused += 1
        assert refused > len(data) * 0.7

    def test_another_kind_of_file(self, data: bytes, use: Callable[[bytes], object]) -> None:
        for other in (b"", b"PK\x03\x04", b"x" * 1000, b"LAMPXXX1" + data[8:]):
            with pytest.raises(Damaged, match=r"(timetable|book of jobs) \(\w+\.bin\) is of no use"):
                use(other)


def test_the_book_gives_back_every_job_by_number_and_by_name() -> None:
    jobs = crowd(300)
    book = JobFile.load(job_file.build(jobs))
    assert [book[number] for number in range(len(book))] == jobs
    assert [book.find(one.name) for one in jobs] == list(range(300))
    assert book.find("servers/job-300") is None
    for number in (-1, 300):
        with pytest.raises(IndexError, match="the release has 300"):
            book[number]


def test_the_book_refuses_two_jobs_of_one_name() -> None:
    with pytest.raises(ValueError, match="same name 'twice'"):
        job_file.build([job("* * * * *", name="twice"), job("* * * * *", name="twice")])


def test_a_job_survives_the_book_whatever_its_text() -> None:
    texts = {"command": "\x00\u2028\U0001f526%", "env": {"A=": "\n"}, "mailto": "", "name": "å"}
    odd = msgspec.structs.replace(job("* * * * *"), **texts)
    book = JobFile.load(job_file.build([odd]))
    assert book[0] == odd
    assert book.find("å") == 0
