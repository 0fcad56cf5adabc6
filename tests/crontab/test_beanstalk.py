"""Elastic Beanstalk's cron.yaml: what it may hold, and what is wrong where."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.crontab import beanstalk
from chalicelib.crontab.diagnostics import Diagnostic
from chalicelib.crontab.job import Job, Policy

HTTP = Policy(on="http")
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
        ("version: 1\ncorn: []", "2:1", "'corn'"),
        ("version: 1\ncron:\n  - 7", "3:5", "may stand here"),
        ("version: 1\ncron:\n  - name: a\n    url: /a\n", "3:5", "schedule"),
        ("version: 1\ncron:\n  - name: a\n    uri: /a\n", "4:5", "'uri'"),
        ("version: 1\ncron:\n  - name: [a]\n    url: /a\n    schedule: x\n", "3:11", "single value"),
        (entry(url="reports"), "4:10", "begins with /"),
        (entry(url="/a b"), "4:10", "begins with /"),
        (entry(name='""'), "3:11", "name"),
        (entry() + "  - name: a\n    url: /b\n    schedule: '@daily'\n", "6:11", "another name"),
        (entry(schedule="*/5 * * * *"), "5:15", "in quotes"),
        (entry(schedule='"61 * * * *"'), "5:16", "bad minute"),
        (entry(schedule="0 0 * * 8"), "5:23", "bad day-of-week"),
        (entry(schedule='"* * * * * x"'), "5:26", "bad command"),
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
    assert words in str(findings[0])


def test_surprises_are_told_at_their_column() -> None:
    jobs, (finding,) = read(entry(schedule='"0 0 * * fri-sun"'))
    assert (finding.line, finding.column, finding.code, finding.severity) == (5, 24, "never-runs", "warning")
    assert len(jobs) == 1


@pytest.mark.parametrize(
    ("nested", "place"),
    [("[" * 100_000, "1:20"), ("[{" * 50_000, "1:20"), ("- " * 100_000, "1:39"), ("? " * 50_000, "1:39"),
     ("version: 1\ncron:\n - " + "[" * 30, "3:21")],
)  # fmt: skip
def test_what_is_nested_is_followed_only_as_deep_as_a_cron_yaml_may_be(nested: str, place: str) -> None:
    _, (finding,) = read(nested)
    assert (f"{finding.line}:{finding.column}", finding.message) == (place, "nested too deeply to be a cron.yaml")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"version: 1\n\xe5", b"[" * 100_000, b"\0", b"a: &x [*x]", b"\t"])
def test_hostile_files_give_one_error(data: bytes) -> None:
    jobs, findings = read(data)
    assert jobs == []
    assert [finding.severity for finding in findings] == ["error"]


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: (GOOD + text).encode()))
def test_no_bytes_raise_an_exception(data: bytes) -> None:
    jobs, findings = read(data)
    assert jobs or findings or b"[]" in data
