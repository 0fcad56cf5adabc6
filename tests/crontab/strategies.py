"""Schedules, zones and minutes for hypothesis: mostly such as lie around changes of clocks."""

from hypothesis import strategies as st

from chalicelib.crontab import zones
from chalicelib.crontab.expression import Expression, parse
from chalicelib.crontab.job import Job, Policy
from tests.crontab import oracle

ZONES = sorted(zones.names())
# Half hours, days left out and days repeated, odd seconds, clocks set back by seven hours.
ODD = ["Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kwajalein", "Africa/Monrovia", "Antarctica/Vostok",
       "Antarctica/Casey", "Antarctica/Troll", "Pacific/Chatham", "Europe/Stockholm", "America/New_York"]


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    pair = st.tuples(value, value).map(sorted)
    part = st.one_of(
        st.just("*"), st.just("*"), value.map(str), pair.map(lambda p: f"{p[0]}-{p[1]}"),
        st.integers(1, high).map(lambda step: f"*/{step}"),
        st.tuples(pair, st.integers(1, high)).map(lambda p: f"{p[0][0]}-{p[0][1]}/{p[1]}"))
    return st.lists(part, min_size=1, max_size=3).map(",".join)


schedules = st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 7)).map(" ".join)
# Every minute of fixed time: nothing that the daemon does stays hidden from it.
_TELLING = ["* * * * *", "0-59 0-23 * * *", "*/5 * * * *", "30 2 * * *", "0-59 1-3 * * *"]
expressions: st.SearchStrategy[Expression] = st.one_of(schedules, st.sampled_from(_TELLING)).map(parse)
tzs = st.one_of(st.sampled_from(ODD), st.sampled_from(ZONES))


@st.composite
def minutes(draw: st.DrawFn, tz: str, before: int = 3000) -> int:
    """A UTC minute, up to `before` minutes before a change of clocks of `tz` if it has any."""
    known = oracle.changes(tz)
    base = draw(st.one_of(st.sampled_from(known) if known else st.nothing(), st.integers(20_000_000, 68_000_000)))
    return base - draw(st.integers(-200, before))


@st.composite
def jobs(draw: st.DrawFn, number: int, among: list[str]) -> Job:
    schedule = draw(schedules)
    return Job(f"cron.d/job-{number}", parse(schedule), schedule, draw(st.sampled_from(among)), "true", "", {}, "root",
               None, Policy(), "cron.d/jobs", number + 1, "crontab")
