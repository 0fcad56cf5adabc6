"""`# lamp:` comments: what they may say, and what they are refused for."""

import pytest

from chalicelib.crontab import parser, policy
from chalicelib.crontab.diagnostics import Diagnostic
from chalicelib.crontab.job import AlarmOn, Policy
from chalicelib.crontab.parser import Source


def read(text: str, **defaults: object) -> tuple[Policy | None, list[Diagnostic]]:
    source = Source("crontabs/deploy", False, "deploy", defaults=Policy(**defaults))  # type: ignore[arg-type]
    found = parser.read(f"{text}\n* * * * * x\n".encode(), source)
    return (found.jobs[0].policy if found.jobs else None), found.findings


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("# lamp: overlap=skip", Policy(overlap="skip")),
        ("#lamp:overlap=queue-one", Policy(overlap="queue-one")),
        ("\t#  lamp:  overlap=replace\tretries=2 on=ssm ", Policy(overlap="replace", retries=2, on="ssm")),
        ("# lamp: timeout=13m", Policy(timeout=780)),
        ("# lamp: timeout=14m on=http", Policy(timeout=840, on="http")),
        ("# lamp: timeout=1h30m on=ecs", Policy(timeout=5400, on="ecs")),
        ("# lamp: jitter=15m", Policy(jitter=900)),
        ("# lamp: on=queue queue=letters", Policy(on="queue", queue="letters")),
        ("# lamp: catch_up=120m", Policy(catch_up="2h")),
        ("# lamp: catch_up=all", Policy(catch_up="all")),
        ("# lamp: overlap=skip\n# lamp: timeout=1m", Policy(overlap="skip", timeout=60)),
        ("# lamp:", Policy()),
        ("# a comment", Policy()),
    ],
)
def test_what_can_be_said(comment: str, expected: Policy) -> None:
    assert read(comment) == (expected, [])


@pytest.mark.parametrize(
    ("comment", "place", "words"),
    [
        ("# lamp: colour=red", "1:9", "'colour'"),
        ("# lamp: Overlap=skip", "1:9", "'Overlap'"),
        ("# lamp: overlap=never", "1:9", "skip"),
        ("# lamp: retries=1 overlap=", "1:19", "overlap"),
        ("# lamp: overlap = skip", "1:9", "without blanks"),
        ("# lamp: skip", "1:9", "key=value"),
        ("# lamp: retries=1 retries=2", "1:19", "twice"),
        ("# lamp: retries=1\n# lamp: retries=2", "2:9", "twice"),
        ("# lamp: retries=11", "1:9", "0 to 10"),
        ("# lamp: retries=-1", "1:9", "0 to 10"),
        ("# lamp: timeout=10", "1:9", "10m"),
        ("# lamp: timeout=0s", "1:9", "1s"),
        ("# lamp: timeout=3d", "1:9", "2d"),
        ("# lamp: jitter=16m", "1:9", "15m"),
        ("# lamp: catch_up=sometimes", "1:9", "skip, one, all"),
        ("# lamp: catch_up=5s", "1:9", "from 1m"),
        ("# lamp: on=moon", "1:9", "lambda"),
        ("# lamp: name=bad|name", "1:9", "letters"),
        ("# lamp: queue=Letters on=queue", "1:9", "fleet.toml"),
        # what Lambda cannot hold
        ("# lamp: timeout=15m", "1:9", "on=ecs"),
        ("# lamp: on=lambda timeout=781s", "1:19", "at most 13m"),
        ("# lamp: on=lambda overlap=replace", "1:19", "on=ecs or on=ssm"),
        ("# lamp: overlap=replace", "1:9", "on=ecs or on=ssm"),
        ("# lamp: on=http timeout=20m", "1:17", "at most 14m"),
        # what cannot be had together
        ("# lamp: on=queue overlap=skip", "1:18", "remove it"),
        ("# lamp: queue=letters", "1:9", "on=queue"),
        ("# lamp: user=www-data", "1:9", "on=ssm"),
        ("# lamp: on=ssm user=-x", "1:16", "www-data"),
    ],
)
def test_what_is_refused(comment: str, place: str, words: str) -> None:
    _, findings = read(comment)
    (finding,) = findings
    assert (f"{finding.line}:{finding.column}", finding.severity) == (place, "error")
    assert words in f"{finding.message} {finding.remedy}"


def test_only_a_few_mistakes_of_one_comment_are_told() -> None:
    _, findings = read("# lamp: " + "a=b " * 100_000)
    assert len(findings) == 5


@pytest.mark.parametrize("between", ["", "# another comment", "A=b", "\t", "@reboot y", "61 * * * * y", "* * * * * y"])
def test_a_policy_belongs_to_the_line_right_below(between: str) -> None:
    found = parser.read(f"# lamp: retries=3\n{between}\n* * * * * x\n".encode(), Source("x", False, "u"))
    assert found.jobs[-1].policy == Policy()
    if "* * * * y" not in between and "@" not in between:
        assert [finding.code for finding in found.findings] == ["orphan-policy"]


def test_a_policy_at_the_end_is_an_orphan() -> None:
    found = parser.read(b"* * * * * x\n# lamp: retries=3", Source("x", False, "u"))
    assert [(finding.line, finding.code) for finding in found.findings] == [(2, "orphan-policy")]


def test_defaults_are_what_is_not_said() -> None:
    assert read("# lamp: retries=1", on="ssm", jitter=5) == (Policy(on="ssm", jitter=5, retries=1), [])


def test_a_conflict_with_a_default_is_told_at_the_job() -> None:
    _, (finding,) = read("# a comment", on="lambda", timeout=1000)
    assert (finding.line, finding.column, finding.code) == (2, 1, "bad-policy")


def test_a_chosen_name() -> None:
    found = parser.read(b"# lamp: name=night/audit\n0 3 * * * x\n", Source("crontabs/a", False, "a"))
    assert [job.name for job in found.jobs] == ["night/audit"]
    assert [job.chosen for job in found.jobs] == ["night/audit"]


@pytest.mark.parametrize(("text", "seconds"), [("skip", 0), ("one", None), ("all", None), ("5m", 300), ("2h", 7200)])
def test_how_far_back(text: str, seconds: int | None) -> None:
    assert Policy(catch_up=text).catch_up_seconds == seconds


def test_every_key_is_described_by_the_policy() -> None:
    assert set(policy.READERS) - {"name"} == set(Policy.__struct_fields__)


MAILTO = "MAILTO=ops@example.com\n"


@pytest.mark.parametrize(("above", "fleets", "alarm"), [
    ("", None, "failure"),
    (MAILTO, None, "output"),
    ('MAILTO=""\n', None, "failure"),
    (MAILTO, "failure", "failure"),
    ("", "output", "output"),
    (f"{MAILTO}# lamp: alarm_on=failure\n", None, "failure"),
    ("# lamp: alarm_on=output\n", "failure", "output"),
    (f"{MAILTO}# lamp: on=ssm\n", None, "output"),
    (f"{MAILTO}# lamp: on=ecs\n", "output", "failure"),
    (f"{MAILTO}# lamp: on=http\n", "output", "failure"),
    ("# lamp: on=http alarm_on=output\n", None, "output"),
])
def test_the_alarm_is_the_jobs_or_the_fleets_or_that_of_cron(above: str, fleets: AlarmOn | None, alarm: str) -> None:
    source = Source("crontabs/ann", False, "ann", alarm_on=fleets)
    found = parser.read(f"{above}0 3 * * * /x\n".encode(), source)
    assert [job.policy.alarm_on for job in found.jobs] == [alarm]
    assert found.findings == []


@pytest.mark.parametrize("on", ["ecs", "queue"])
def test_output_is_no_alarm_where_there_is_none(on: str) -> None:
    found = parser.read(f"# lamp: on={on} alarm_on=output\n0 3 * * * /x\n".encode(), Source("c/a", False))
    assert [(finding.code, finding.column) for finding in found.findings] == [("bad-policy", 13 + len(on))]
