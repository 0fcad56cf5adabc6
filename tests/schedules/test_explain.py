"""`why`: one reason for each minute of a job, as a table."""

import re
from pathlib import Path
from typing import Any

import pytest

from chalicelib.crontab import loader
from chalicelib.crontab.dst import stamp
from chalicelib.crontab.job import Job
from chalicelib.engine.operation import Rejected
from chalicelib.schedules import queries
from chalicelib.schedules.decide.explain import Known, why
from chalicelib.schedules.state import MinuteRecord, Run
from commands import cli, roots
from tests.schedules.harness import HOME, NOON, STANDBY, Place, job, sweep, tick, work
from tests.schedules.harness import why as explained

LATER = NOON * 60 + 3600
SLOT = "2026-03-28T12:00Z"


def ran(
    state: str = "done", why: str = "due", after: float = 5, slot: str = SLOT, minute: int = NOON, **more: Any
) -> Run:
    facts: dict[str, Any] = {
        "job": "jobs/one", "slot": slot, "minute": minute, "state": state, "why": why, "region": "eu-west-1",
        "owner": "o", "attempt": 1, "started": minute * 60 + after, "lease": 0, "ended": minute * 60 + after + 2} | more
    return Run(**facts)


REGIONS, DELAY = ("eu-west-1", "us-east-1", "ap-southeast-1"), 120


def known(
    *runs: Run, record: bool = True, gap_end: int | None = None, paused_since: int | None = None, later: bool = False
) -> Known:
    found = MinuteRecord("t", "1", "eu-west-1", NOON) if record else None
    return Known(runs, found, gap_end, paused_since, REGIONS, DELAY, later)


@pytest.mark.parametrize(("one", "what", "answer"), [
    (job(), known(ran()), "ran"),
    (job(), known(ran(after=61)), "late"),
    (job(jitter=30), known(ran(after=61)), "ran"),
    (job(), known(ran(why="late", after=20)), "late"),
    (job(), known(ran(why="caught up", after=900)), "caught up"),
    (job(), known(ran("failed", exit=3, detail="exit status 3")), "failed"),
    (job(), known(ran("timed-out")), "timed out"),
    (job(), known(ran("interrupted")), "interrupted"),
    (job(), known(ran("overlapped")), "overlapped"),
    (job(), known(ran("coalesced")), "coalesced"),
    (job(), known(ran("paused")), "paused"),
    (job(), known(ran("running", ended=0)), "running"),
    (job(), known(ran("waiting")), "waiting"),
    (job(), known(ran("retrying")), "retrying"),
    (job(), known(ran("replaced")), "replaced"),
    (job(), known(), "missed"),
    (job(), known(record=False), "missed"),
    (job(catch_up="2h"), known(record=False), "not yet"),
    (job(catch_up="2h"), known(record=False, later=True), "missed"),
    (job(), known(record=False, gap_end=NOON + 30), "missed"),
    (job(catch_up="all"), known(record=False, gap_end=NOON + 30), "missed"),
    (job(catch_up="one"), known(record=False, gap_end=NOON + 30), "coalesced"),
    (job(), known(paused_since=NOON * 60 - 5), "paused"),
    (job(schedule="5 * * * *"), known(), "not due"),
    (job(schedule="5 * * * *"), known(ran(why="manual", slot="manual#1")), "manual")])
def test_the_answer(one: Job, what: Known, answer: str) -> None:
    assert why(one, NOON, what, LATER).answer == answer


@pytest.mark.parametrize(("schedule", "field"), [
    ("5 12 28 3 6", "minute"), ("0 11 * * *", "hour"), ("0 12 * 4 *", "month"),
    ("0 12 1 * *", "day of month"), ("0 12 * * 1", "day of week")])
def test_not_due_names_the_field_that_differs(schedule: str, field: str) -> None:
    sentence = why(job(schedule=schedule), NOON, known(), LATER).sentence
    assert field in sentence
    assert "cron.d/test:3" in sentence


def test_a_minute_to_come_is_not_missed() -> None:
    assert why(job(), NOON, known(), NOON * 60 - 1).answer == "to come"


@pytest.mark.parametrize(("seconds", "what", "answer", "sentence"), [
    (0, known(record=False), "not yet", "us-east-1 will look at 12:02:00Z"),
    (119, known(record=False), "not yet", "us-east-1 will look at 12:02:00Z"),
    (120, known(record=False), "not yet", "ap-southeast-1 will look at 12:04:00Z"),
    (240, known(record=False), "not yet", "ap-southeast-1 looks now, and may start it until 12:05:00Z"),
    (300, known(record=False), "not yet", "no region has started a minute since. The next one that does will catch it "
                                          "up (catch_up=5m)"),
    (301, known(record=False, later=True), "missed", "no region started any job at that minute"),
    (361, known(record=False), "missed", "no region started any job at that minute"),
    # Somebody has started the minute, and no worker has claimed the run yet.
    (5, known(), "not yet", "us-east-1 will look at 12:02:00Z"),
    (300, known(), "missed", "eu-west-1 started that minute's jobs"),
    # The gap has just ended, so that its slots are on their way.
    (180, known(record=False, gap_end=NOON + 3), "not yet", "us-east-1 will look at 12:05:00Z"),
    (180 + 300, known(record=False, gap_end=NOON + 3), "missed", "no worker has claimed it"),
    (1800, known(record=False, gap_end=NOON + 30), "missed", "catch_up=5m left it out"),
])
def test_nothing_is_missed_before_the_last_region_has_looked(
    seconds: int, what: Known, answer: str, sentence: str
) -> None:
    reason = why(job(), NOON, what, NOON * 60 + seconds)
    assert reason.answer == answer and sentence in reason.sentence


def test_a_job_that_starts_late_by_itself_is_not_missed_before() -> None:
    late = job(jitter=600)
    assert why(late, NOON, known(), NOON * 60 + 300 + 599).answer == "not yet"
    assert why(late, NOON, known(), NOON * 60 + 300 + 600).answer == "missed"


def test_a_minute_that_a_standby_starts_is_missed_at_no_moment_before(tmp_path: Path) -> None:
    place = Place(tmp_path, [job()])
    tick(place, NOON - 1)
    work(place)
    # Home dies. Each standby has its own rule, and only its reminder acts.
    said = []
    tick(place, NOON, STANDBY)
    for second in range(0, 120, 7):
        place.now = NOON * 60 + second
        said.append(explained(place, "jobs/one", NOON))
    place.now = NOON * 60 + 121
    sweep(place, STANDBY)
    work(place, STANDBY)
    assert set(said) == {("not yet", "us-east-1 will look at 12:02:00Z")}
    assert explained(place, "jobs/one", NOON)[0] == "late"


# Stockholm's clock goes from 02:00 to 03:00 on 2026-03-29 at 01:00 UTC, and from 03:00 to 02:00 on 2026-10-25.
FORWARD, BACK = 29_579_100, 29_881_500


def test_what_the_clock_change_moved() -> None:
    assert stamp(FORWARD) == "2026-03-29T01:00"
    night = job(schedule="30 2 * * *", tz="Europe/Stockholm")
    run = ran(slot="2026-03-29T02:30", minute=FORWARD)
    reason = why(night, FORWARD, known(run), FORWARD * 60 + 600)
    assert reason.answer == "DST-moved"
    assert "2026-03-29 02:30" in reason.sentence


def test_what_the_clock_change_suppressed() -> None:
    assert stamp(BACK) == "2026-10-25T01:00"
    night = job(schedule="30 2 * * *", tz="Europe/Stockholm")
    assert why(night, BACK - 30, known(ran(slot="2026-10-25T02:30", minute=BACK - 30)), LATER + 10**8).answer == "ran"
    assert why(night, BACK + 30, known(), LATER + 10**8).answer == "DST-suppressed"


@pytest.mark.slow
def test_every_place_that_a_finding_names_is_a_job_to_explain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crontab = tmp_path / "fleet" / "cron" / "cron.d" / "hello"
    crontab.parent.mkdir(parents=True)
    (tmp_path / "fleet" / "fleet.toml").write_text((roots.PRODUCT / "fleet.toml").read_text())
    crontab.write_text("# one\n5 2 31 2 * root true\n*/7 * * * fri-sun root true x\n0 4 30 2 * root true y\n")
    site = Place(tmp_path, loader.load(tmp_path / "fleet" / "cron").jobs).sites[HOME]
    places = []
    for folder, words in ((tmp_path, ["fleet/cron"]), (tmp_path / "fleet", []), (tmp_path / "fleet" / "cron", [])):
        monkeypatch.chdir(folder)
        cli.main(["cron", "lint", *words])
        places += [line.partition(": ")[0] for line in capsys.readouterr().out.splitlines()]
    assert len(places) > 5 and {place.split(":")[1] for place in places} >= {"2", "4"}
    for place in places:
        for text in (place, re.sub(r":\d+$", "", place), f"{place}: warning: never runs"):
            assert f":{queries.find(site, text).line}" in place


def test_a_line_without_a_job_names_the_jobs_of_the_file_nearest_first(tmp_path: Path) -> None:
    site = Place(tmp_path, [job("a", line=3), job("b", line=9), job("c", file="cron.d/other")]).sites[HOME]
    with pytest.raises(Rejected, match=r"did you mean b, a\?$"):
        queries.find(site, "cron/cron.d/test:8:2")
