"""Elastic Beanstalk's cron.yaml: what it may hold, and what is wrong where."""

import gzip
import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.crontab import beanstalk, sqsd
from chalicelib.crontab.diagnostics import Diagnostic
from chalicelib.crontab.dst import fires
from chalicelib.crontab.expression import ExpressionError
from chalicelib.crontab.job import Job, Policy
from chalicelib.crontab.lint import never_matches

HTTP = Policy(on="http", retries=10)
GOOD = """version: 1
cron:
  - name: "nightly"
    url: "/reports/nightly?format=pdf"
    schedule: "0 3 * * *"
  # lamp: on=queue queue=letters
  - name: letters
    url: /invoices/render?customer=7&note=&number=007x
    schedule: '*/5 * * * 1-5'
"""


def read(text: str | bytes) -> tuple[list[Job], list[Diagnostic]]:
    return beanstalk.read(text if isinstance(text, bytes) else text.encode(), "cron.yaml")


def test_entries_become_jobs() -> None:
    (nightly, letters), findings = read(GOOD)
    assert findings == []
    assert (nightly.name, nightly.url, nightly.schedule) == (
        "cron/nightly", "/reports/nightly?format=pdf", "0 3 * * *")  # fmt: skip
    assert (nightly.tz, nightly.kind, nightly.line, nightly.policy) == ("UTC", "beanstalk", 3, HTTP)
    assert nightly.command == nightly.url
    assert (letters.policy, letters.line) == (Policy(on="queue", queue="letters"), 7)


def test_on_a_queue_the_address_names_a_task() -> None:
    (_, letters), _ = read(GOOD)
    assert json.loads(letters.command) == {
        "task": "invoices.render", "args": {"customer": 7, "note": "", "number": "007x"}}  # fmt: skip


def entry(name: str = "a", url: str = "/a", schedule: str = '"* * * * *"', above: str = "") -> str:
    return f"version: 1\ncron:\n{above}  - name: {name}\n    url: {url}\n    schedule: {schedule}\n"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "empty"),
        ("a: [", "1:5", "not valid YAML"),
        ("- a", "1:1", "may stand here"),
        ("version: 2\ncron: []", "1:10", "version"),
        ("cron: []", "1:1", "version"),
        ("version: 1", "1:1", "list"),
        ("version: 1\ncron: 5", "2:7", "list"),
        ("version: 1\nversion: 1\ncron: []", "2:1", "twice"),
        ("version: 1\ncorn: []", "1:1", "list"),
        ("version: 1\ncron:\n  - 7", "3:5", "may stand here"),
        ("version: 1\ncron:\n  - name: a\n    url: /a\n", "3:5", "schedule"),
        ("version: 1\ncron:\n  - name: a\n    uri: /a\n", "3:5", "has no url"),
        ("version: 1\ncron:\n  - name: [a]\n    url: /a\n    schedule: x\n", "3:11", "single value"),
        (entry(url="reports"), "4:10", "begins with /"),
        (entry(url="/a b"), "4:10", "begins with /"),
        (entry(name='""'), "3:11", "name"),
        (entry() + "  - name: a\n    url: /b\n    schedule: '@daily'\n", "6:11", "another name"),
        (entry(schedule="*/5 * * * *"), "5:15", "in quotes"),
        (entry(schedule='"61 * * * *"'), "5:16", "bad minute"),
        (entry(schedule="0 0 * * 8"), "5:23", "bad day-of-week"),
        (entry(schedule='"* * * * * x y"'), "5:28", "bad command"),
        (entry(schedule='"@reboot"'), "5:16", "@reboot"),
        (entry(above="  # lamp: on=moon\n"), "3:11", "lambda"),
        (entry(above="  # lamp: on=ecs\n"), "3:11", "on=http or on=queue"),
        (entry(above="  # lamp: name=x\n"), "3:11", "name of its own"),
        (entry(above="  # lamp: timeout=15m\n"), "3:11", "14m"),
        (entry(above="  # lamp: retries=1\n\n"), "3:3", "right above"),
        (entry() + "# lamp: retries=1\n", "6:1", "right above"),
        ("version: 1\ncron: &a\n  - *a\n", "2:7", "may stand here"),
        ("!!python/object:os.system {}", "1:1", "the version"),
    ],
)
def test_mistakes(text: str, place: str, words: str) -> None:
    _, findings = read(text)
    assert [f"{f.line}:{f.column}" for f in findings if f.severity == "error"] == [place]
    assert words in str([finding for finding in findings if finding.severity == "error"])


@pytest.mark.parametrize(("text", "place", "words"), [
    ("version: 1\ncron:\n \u2014 name: a\n   url: /a\n", "3:2", "U+2014"),
    ("version: 1\ncron:\n- name: a\n  url: /a\n  schedule: '@daily'\n\u2022 name: b\n", "6:1", "is no -"),
    (entry(schedule="\u201c0 3 * * *\u201d"), "5:15", "straight quotes"),
    (entry(name="\u2018a\u2019"), "3:11", "straight quotes"),
    ("cron:\n- description: sends the mails\n  url: /mails\n  schedule: every day 01:00\n", "1:1", "of App Engine"),
    ("cron:\n- url: /mails\n  schedule: every 5 minutes\n  timezone: Europe/Oslo\n", "1:1", "of App Engine"),
    ("apiVersion: batch/v1\nkind: CronJob\nspec: {}\n", "1:1", "of Kubernetes"),
    ("on:\n  schedule:\n  - cron: '0 3 * * *'\njobs: {}\n", "1:1", "of GitHub Actions"),
    (entry(schedule="every day 01:00"), "5:15", "App Engine's language"),
    (entry(schedule="2nd monday 09:00"), "5:15", "App Engine's language"),
    (entry(schedule="rate(5 minutes)"), "5:15", "EventBridge's language"),
    (entry(schedule="cron(0 3 * * ? *)"), "5:15", "EventBridge's language"),
])
def test_a_file_that_is_meant_for_another_reader_is_told_by_what_it_is(text: str, place: str, words: str) -> None:
    jobs, [finding] = read(text)
    assert (f"{finding.line}:{finding.column}", finding.severity, jobs) == (place, "error", [])
    assert words in str(finding)


@pytest.mark.parametrize(("text", "code", "place"), [
    ("version: 1\nregion: x\ncron: []\n", "extra-key", "2:1"),
    (entry() + "    description: nightly\n", "extra-key", "6:5"),
    (entry(schedule='"0 3 * * * 2026"'), "six-fields", "5:26"),
    (entry(schedule="0 0 */2 * mon"), "either-day", "5:19"),
    (entry(schedule="0 0 */1 * mon"), "either-day", "5:19"),
])
def test_what_the_daemon_ignores_is_told_and_the_entries_stay(text: str, code: str, place: str) -> None:
    jobs, [finding] = read(text)
    assert (finding.code, f"{finding.line}:{finding.column}", finding.severity) == (code, place, "warning")
    assert len(jobs) == text.count("url:")


GOLDEN = Path(__file__).parent.parent / "golden" / "cron" / "sqsd.jsonl.gz"
START = 29_498_399  # 2026-01-31 23:59 UTC, after which the library was asked for up to 60 runs until June
# Numbers out of range and blanks before the first field, at which the library runs at other times than anybody means.
NOT_TAKEN = {"0 24 * * *", "0 0 0 * *", "0 0 32 * *", "0 0 * * 8", " 0 3 * * *", "*/-5 * * * *"}


@pytest.mark.slow
def test_parse_crons_own_verdicts_on_schedules() -> None:
    """`next` and `last` of parse-cron 0.1.4, the library of the daemon, recorded under Ruby 3.1 with TZ=UTC."""
    rows = [json.loads(line) for line in gzip.decompress(GOLDEN.read_bytes()).splitlines()]
    assert len(rows) > 1600
    agreed, not_taken, empty, first_of_month = 0, set(), set(), set()
    for row in rows:
        try:
            expression = sqsd.read(row["schedule"]).expression
        except ExpressionError:
            if not row.get("refused"):
                not_taken.add(row["schedule"])
            continue
        assert not row.get("refused"), row["schedule"]
        theirs = row["fires"]
        ours = fires(expression, "UTC", START + 1, theirs[-1] + 1 if len(theirs) == 60 else START + 1 + 120 * 1440)
        if ours == theirs:
            agreed += 1
        elif never_matches(expression):
            empty.add(row["schedule"])
        else:
            # In a month without the day the library also runs on the 1st.
            assert {date.fromordinal(minute // 1440 + 719_163).day for minute in set(theirs) - set(ours)} == {1}
            assert set(ours) < set(theirs)
            first_of_month.add(row["schedule"])
    assert not_taken == NOT_TAKEN
    assert empty == {"0 0 * * fri-sun", "0 22-2 * * *", "59-0 * * * *"}
    assert agreed > 1600 and {schedule.split()[2][:2] for schedule in first_of_month} <= {"29", "30", "31"}


def test_surprises_are_told_at_their_column() -> None:
    jobs, (finding,) = read(entry(schedule='"0 0 * * fri-sun"'))
    assert (finding.line, finding.column, finding.code, finding.severity) == (5, 24, "never-runs", "warning")
    assert len(jobs) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nested", "place"),
    [("[" * 100_000, "1:20"), ("[{" * 50_000, "1:20"), ("- " * 100_000, "1:39"), ("? " * 50_000, "1:39"),
     ("version: 1\ncron:\n - " + "[" * 30, "3:21")],
)  # fmt: skip
def test_what_is_nested_is_followed_only_as_deep_as_a_cron_yaml_may_be(nested: str, place: str) -> None:
    _, (finding,) = read(nested)
    assert (f"{finding.line}:{finding.column}", finding.message) == (place, "nested too deeply to be a cron.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"\xff\xfe", b"version: 1\n\xe5", b"[" * 100_000, b"\0", b"a: &x [*x]", b"\t"])
def test_hostile_files_give_one_error(data: bytes) -> None:
    jobs, findings = read(data)
    assert jobs == []
    assert [finding.severity for finding in findings] == ["error"]


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: (GOOD + text).encode()))
def test_no_bytes_raise_an_exception(data: bytes) -> None:
    jobs, findings = read(data)
    assert jobs or findings or b"[]" in data
