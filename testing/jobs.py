"""Generated fleets of jobs, always the same for one number, for tests and benchmarks."""

import random

from chalicelib.crontab.expression import parse
from chalicelib.crontab.job import Job, Policy

# 40 zones on every continent. Pacific/Chatham is left out: cronsim never returns from some of its changes of clocks.
ZONES = (
    "UTC", "Europe/London", "Europe/Dublin", "Europe/Lisbon", "Europe/Paris", "Europe/Berlin", "Europe/Stockholm",
    "Europe/Athens", "Europe/Moscow", "Africa/Cairo", "Africa/Lagos", "Africa/Johannesburg", "Africa/Casablanca",
    "Asia/Dubai", "Asia/Tehran", "Asia/Karachi", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Dhaka", "Asia/Jakarta",
    "Asia/Singapore", "Asia/Shanghai", "Asia/Tokyo", "Asia/Seoul", "Australia/Perth", "Australia/Adelaide",
    "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Auckland", "Pacific/Honolulu", "America/Anchorage",
    "America/Los_Angeles", "America/Denver", "America/Chicago", "America/New_York", "America/St_Johns",
    "America/Sao_Paulo", "America/Bogota", "America/Santiago", "America/Caracas",
)

# How often each kind of schedule stands in the crontabs of servers, roughly; {m}: a minute, {h}: an hour, {d}: a day.
_KINDS = {
    "{m} {h} * * *": 35, "*/{n} * * * *": 20, "{m} * * * *": 12, "{m} {h} * * mon-fri": 8, "{m} {h} * * sun": 6,
    "{m} {h} {d} * *": 7, "{m} */{s} * * *": 7, "* * * * *": 3, "{m} 8-18 * * mon-fri": 2,
}  # fmt: skip
_CATCH_UP = {"5m": 80, "one": 8, "skip": 6, "2h": 5, "all": 1}


def crowd(count: int, seed: int = 1) -> list[Job]:
    """`count` jobs as they might stand on a large fleet's servers, in 40 zones, with policies of all kinds."""
    chance = random.Random(seed)
    return [_job(number, chance) for number in range(count)]


def _job(number: int, chance: random.Random) -> Job:
    schedule = _one_of(_KINDS, chance).format(
        m=chance.randrange(60), h=chance.randrange(24), d=chance.randrange(1, 29),
        n=chance.choice((5, 10, 15, 20, 30)), s=chance.choice((2, 3, 4, 6)))
    policy = Policy(catch_up=_one_of(_CATCH_UP, chance))
    name, command = f"servers/job-{number}", f"/usr/local/bin/job-{number} --quiet"
    return Job(name, parse(schedule), schedule, chance.choice(ZONES), command, "", {"SHELL": "/bin/sh"}, "root", None,
               policy, "cron.d/servers", number + 1, "crontab")


def _one_of(weights: dict[str, int], chance: random.Random) -> str:
    return chance.choices(list(weights), list(weights.values()))[0]
