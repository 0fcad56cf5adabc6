"""Whole crontab files: Debian's own verdicts, and every finding at its place."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.crontab import parser
from chalicelib.crontab.command import name, slug, split
from chalicelib.crontab.diagnostics import render
from chalicelib.crontab.job import Policy
from chalicelib.crontab.parser import Crontab, Source

GOLDEN = Path(__file__).parent.parent / "golden" / "cron" / "files.jsonl.gz"
USER = Source("crontabs/deploy", False, "deploy")
SYSTEM = Source("cron.d/app", True)


def read(text: str | bytes, source: Source = USER) -> Crontab:
    return parser.read(text if isinstance(text, bytes) else text.encode(), source)


def codes(text: str | bytes, source: Source = USER) -> list[str]:
    return [f"{f.line}:{f.column} {f.severity} {f.code}" for f in read(text, source).findings]


REFUSED = ("bad-minute", "bad-hour", "bad-day-of-month", "bad-month", "bad-day-of-week", "bad-time-specifier",
           "bad-command", "bad-username", "command-too-long")  # fmt: skip


def ours(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Our reading of a file in the words of the golden one: up to the first line that voids the file."""
    found = read(row["text"], SYSTEM if row["system"] else USER)
    last = row["text"].count("\n")
    items: list[dict[str, Any]] = []
    for job in found.jobs:
        e = job.expression
        flags = e.dom_star | e.dow_star << 1
        fields = [e.minute, e.hour, e.dom, e.month, e.dow | (e.dow & 1) << 7]
        items.append({"line": job.line, "flags": flags, "wildcard": e.wildcard, "fields": fields,
                      "command": job.command, "stdin": job.stdin, "environment": job.env})  # fmt: skip
    for finding in found.findings:
        if finding.code in REFUSED:
            items.append({"line": finding.line, "error": finding.message})
        if finding.code == "reboot":
            items.append({"line": finding.line, "reboot": True})
    items = sorted((item for item in items if item["line"] <= last), key=lambda item: item["line"])
    stop = next((index for index, item in enumerate(items) if "error" in item), len(items))
    return [*items[:stop], *({"error": item["error"]} for item in items[stop : stop + 1])]


def debians(row: dict[str, Any]) -> list[dict[str, Any]]:
    items = []
    for item in row["items"]:
        if "set" in item:
            continue
        if "fields" in item:
            flags = item.pop("flags")
            item |= {"flags": flags & 3, "wildcard": bool(flags & 24), "command": item["command"].lstrip(" \t")}
            if item["environment"]["HOME"] in ("/home/deploy", "/home/x"):
                del item["environment"]["HOME"]  # from the passwd file there; here it is the runner's
            item = json.loads(json.dumps(item), object_hook=_utf8)
        items.append(item)
    return items


def _utf8(item: dict[str, Any]) -> dict[str, Any]:
    """The golden file has bytes as characters of the same number."""
    return {_text(key): _text(value) if isinstance(value, str) else value for key, value in item.items()}


def _text(text: str) -> str:
    return text.encode("latin1").decode()


@pytest.mark.slow
def test_debians_own_verdicts_on_files() -> None:
    rows = [json.loads(line) for line in gzip.decompress(GOLDEN.read_bytes()).splitlines()]
    assert len(rows) > 900
    for row in rows:
        assert ours(row) == debians(row), row["text"]
        missing = "no-newline" in [finding.code for finding in read(row["text"]).findings]
        assert missing or row["newline"] or any("error" in item for item in row["items"]), row["text"]


@pytest.mark.parametrize(
    ("raw", "command", "stdin"),
    [
        ("cat", "cat", ""),
        ("cat%a", "cat", "a\n"),
        ("cat%a%b", "cat", "a\nb\n"),
        ("cat%a%", "cat", "a\n"),
        ("cat%", "cat", ""),
        ("date +\\%H", "date +%H", ""),
        ("a\\\\b\\n\\%c", "a\\b\\n%c", ""),
        ("cat%a\\%b\\\\%c\\d", "cat", "a%b\\%c\\d\n"),
        ("cat%\\", "cat", "\\"),
        ("tail\\", "tail\\", ""),
    ],
)
def test_percent(raw: str, command: str, stdin: str) -> None:
    assert split(raw) == (command, stdin)


def test_a_job_has_all_that_its_line_says() -> None:
    text = 'MAILTO=""\nCRON_TZ=Asia/Tokyo\nA = "b c" \n\n# lamp: timeout=1m\n*/5 0 * *  Mon\troot  cat%x\n'
    (job,) = read(text, SYSTEM).jobs
    assert (job.schedule, job.tz, job.user, job.line) == ("*/5 0 * * Mon", "Asia/Tokyo", "root", 6)
    assert (job.command, job.stdin, job.mailto, job.kind) == ("cat", "x\n", "", "crontab")
    assert job.policy == Policy(timeout=60)
    assert job.env == {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "MAILTO": "", "CRON_TZ": "Asia/Tokyo",
                       "A": "b c", "LOGNAME": "root"}  # fmt: skip


def test_variables_hold_for_the_lines_below() -> None:
    text = "* * * * * a\nA=1\nCRON_TZ=Asia/Tokyo\n* * * * * b\nA=2\nCRON_TZ=UTC\nMAILTO=x@y.z\n* * * * * c\n"
    jobs = read(text).jobs
    assert [(job.env.get("A"), job.tz, job.mailto) for job in jobs] == [
        (None, "UTC", None), ("1", "Asia/Tokyo", None), ("2", "UTC", "x@y.z")]  # fmt: skip


def test_the_user_cannot_be_set_but_all_else_can() -> None:
    (job,) = read("LOGNAME=root\nSHELL=/bin/bash\nPATH=/opt/bin\nHOME=/srv\n* * * * * a\n").jobs
    assert job.env == {"SHELL": "/bin/bash", "PATH": "/opt/bin", "HOME": "/srv", "LOGNAME": "deploy"}


LINES = [
    # what Debian accepts but never runs
    ("0 0 * * fri-sun x", "1:9 warning never-runs"),
    ("0 22-2 * * * x", "1:3 warning never-runs"),
    ("0 0 * * 6-0 x", "1:9 warning never-runs"),
    ("0 0 30 2 * x", "1:5 warning never-runs"),
    ("0 0 31 4,6,9,11 * x", "1:5 warning never-runs"),
    ("0 22-2,5 * * * x", "1:3 warning empty-range"),
    # what it reads otherwise than its author
    ("5;x * * * * x", "1:2 warning ignored-text"),
    ("*5 * * * * x", "1:2 warning ignored-text"),
    ("0 0 */2;x * 1 x", "1:8 warning ignored-text"),
    ("0 1.5 * * * x", "1:4 warning ignored-text"),
    ("0 0 * * 1#2 x", "1:10 warning ignored-text"),
    ("0~30 * * * * x", "1:2 warning ignored-text"),
    ("0 0 */2 * 1 x", "1:5 warning both-days"),
    ("0 0 1 * */2 x", "1:5 warning both-days"),
    ("0 0 1-31 * 1 x", "1:5 warning either-day"),
    ("0 0 13 * 0-6 x", "1:5 warning either-day"),
    ("0 0 1-7 * mon x", "1:5 warning either-day"),
    ("* 3 * * * x", "1:1 warning every-minute"),
    ("*/45 * * * * x", "1:1 warning uneven-step"),
    ("0 */13 * * * x", "1:3 warning uneven-step"),
    ("* * * * *", "1:10 warning empty-command"),
    ("* * * * * tar czf $(date +%F).tgz /srv", "1:27 warning percent"),
    ("* * * * * echo 'a%b'", "1:18 warning percent"),
    ("* * * * * echo a \\", "1:18 warning continuation"),
    ("* * * * * root /usr/bin/true", "1:11 warning user-column"),
    ("* * * * * deploy /usr/bin/true", "1:11 warning user-column"),
    # what voids the file
    ("* * * * * * x", "1:11 error bad-command"),
    ("61 * * * * x", "1:1 error bad-minute"),
    ("MAILTO=", "1:1 error bad-minute"),
    ("export A=b", "1:1 error bad-minute"),
    ("A='b'c", "1:1 error bad-minute"),
    ("\ufeff* * * * * x", None),
    ("@Daily x", "1:1 error bad-time-specifier"),
    ("* * * * * " + "x" * 999, "1:11 error command-too-long"),
    ("* * * * * " + "é" * 500, "1:11 error command-too-long"),
    # what cannot be honoured
    ("@reboot x", "1:1 warning reboot"),
    ("CRON_TZ=Eurpe/Paris", "1:9 error unknown-zone"),
    ("CRON_TZ=europe/paris", "1:9 error unknown-zone"),
    # variables
    ("PATH=$HOME/bin:/bin", "1:6 warning no-expansion"),
    ("A = ${B}", "1:5 warning no-expansion"),
    ("A=b # c", "1:3 warning no-comment"),
    ("=b", "1:1 warning no-name"),
    ("TZ=Asia/Tokyo", "1:4 warning tz"),
    ("A=" + "x" * 997, "1:3 warning environment-cut"),
    # policies
    ("# lamp: overlap=skip", "1:1 error orphan-policy"),
    ("# lamp overlap=skip", "1:1 warning policy-ignored"),
]


@pytest.mark.parametrize(("line", "finding"), LINES, ids=[line[:40] for line, _ in LINES])
def test_findings_of_a_line(line: str, finding: str | None) -> None:
    assert codes(f"{line}\n") == [finding or "1:1 error bad-minute"]


@pytest.mark.parametrize(
    "line",
    [
        "* * * * * x",
        "*/5 8-18 * * mon-fri /usr/bin/php /srv/app/cron.php >/dev/null 2>&1",
        "*/7 * * * * x",
        "0 3 13 * 5 x",
        "0 3 1-7 * mon-fri x",
        "0 0 29 2 * x",
        "0 0 31 * * x",
        "0 0 */2 * * x",
        "0 4 1,15 * * cd /srv && ./run --a=b",
        "0 0 * * 7 echo 'a b' \"c\" \\% # note",
        "0 */6 * * * x",
        "*/30 */12 * * * mail -s hi ops@example.com%Hello,%all is well.",
        "@hourly x",
        "* 8-18 * * * x",
        "*/10 3 * * * x",
        "0 */12 * * * test -x /usr/bin/certbot -a \\! -d /run/systemd/system && perl -e 'sleep int(rand(43200))'",
        '0 2 1 * * report -m `date +\\%-m --date="1 month ago"`',
        "30 2 1 1-12/3 * root-backup --all",
        'MAILTO=""',
        "PATH=/usr/local/bin:/usr/bin",
        "A='$'",
        "COLOUR=#ff0000",
        "# Lamps and their policy",
        "# lamps: on=the street",
    ],
)
def test_ordinary_lines_give_no_findings(line: str) -> None:
    assert codes(f"{line}\n") == []


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("* * * * * /usr/bin/true x", "1:11 error bad-username"),
        ("* * * * * root", "1:11 error bad-command"),
        ("* * * * * root\n* * * * * root x", "1:11 error bad-username"),
        ("@daily", "1:7 error bad-command"),
        ("* * * * * php /srv/x.php", "1:15 warning user-column"),
        ("* * * * * root ", "1:16 warning empty-command"),
        ("* * * * *\twww-data\tx", None),
    ],
)
def test_the_user_column(line: str, finding: str | None) -> None:
    assert codes(f"{line}\n", SYSTEM) == ([finding] if finding else [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "finding", "jobs"),
    [
        (b"* * * * * x", "1:12 error no-newline", 1),
        (b"* * * * * x\n  \t", None, 1),
        (b"* * * * * x\n# end", None, 1),
        (b"* * * * * x\r\n\r\n# c\r\n@daily y\r\n", "1:12 error crlf", 2),
        (b"* * * * * x\0y\n\0\n* * * * * z\n", "1:12 error nul", 1),
        (b"* * * * * \xe5\n* * * * * \xe4\n", "1:11 error not-utf8", 0),
        (b"# \xe5\n# \xe4\n* * * * * x\n", "1:3 warning comment-not-utf8", 1),
        (b"# " + b"x" * 1_000_000 + b"\n", None, 0),
        (b"* * * * * " + b"x" * 1_000_000 + b"\n", "1:11 error command-too-long", 0),
        (b"1" * 1_000_000 + b"\n", "1:1 error bad-minute", 0),
        (b" " * 1_000_000 + b"= x\n", "1:1 warning no-name", 0),
    ],
)
def test_findings_of_a_file(data: bytes, finding: str | None, jobs: int) -> None:
    found = read(data)
    assert codes(data) == ([finding] if finding else [])
    assert len(found.jobs) == jobs
    assert all(len(str(one)) < 400 for one in found.findings)


@pytest.mark.parametrize(("extra", "void"), [(0, False), (1, True)])
def test_the_longest_file(extra: int, void: bool) -> None:
    text = "#\n" * (parser.MAX_LINES - 1 + extra) + "* * * * * x\n"
    assert codes(text) == ([f"{parser.MAX_LINES + 1}:1 error too-many-lines"] if void else [])


def test_comments_beyond_the_longest_file_do_no_harm() -> None:
    assert codes("* * * * * x\n" + "#\n" * 20_000) == []


JOBS_ONLY = "{0} {1} * * {2} /srv/job --number={3}\n"


@pytest.mark.slow
@pytest.mark.parametrize(("line", "count"), [
    (JOBS_ONLY, 12_000), ("x{0}\n", 12_000), ("A{3}=b\n", 12_000),
    pytest.param(JOBS_ONLY, 100_000, marks=pytest.mark.slow), pytest.param("x{0}\n", 100_000, marks=pytest.mark.slow),
    ("A{3}=b\n", 100_000),
])
def test_however_many_lines_are_too_many_it_is_said_once_and_in_few_words(line: str, count: int) -> None:
    found = read("".join(line.format(n % 60, n % 24, n % 7, n) for n in range(count)))
    assert sum(finding.code == "too-many-lines" for finding in found.findings) == 1
    assert len(list(render(found.findings))) <= 21


def test_an_unknown_zone_leaves_out_the_jobs_below_it() -> None:
    found = read("* * * * * a\nCRON_TZ=Mars/Olympus\n* * * * * b\nCRON_TZ=UTC\n* * * * * c\n")
    assert [job.command for job in found.jobs] == ["a", "c"]
    assert [(finding.line, finding.code) for finding in found.findings] == [(2, "unknown-zone"), (3, "unknown-zone")]
    assert "Mars/Olympus" in found.findings[0].message
    assert found.findings[1].message == "the zone of this line is unknown (CRON_TZ in line 2)"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("0 0 * * sunday x", "Weekdays"),
        ("0 0 * monday * x", "fifth"),
        ("0 0 jan * * x", "fourth"),
        ("5/10 * * * * x", "5-59/10"),
        ("0 0 ? * 1 x", "another scheduler"),
        ("MAILTO=", 'MAILTO=""'),
        ("export A=b", "shell script"),
        ("\ufeff# x", "byte order mark"),
        ("@DAILY x", "@daily"),
        ("@reboot x", "release"),
        ("0 0 *", "line ends"),
        ("CRON_TZ=europe/stockholm", "Europe/Stockholm"),
        ("0 0 * * fri-sun x", "fri-7"),
        ("0 22-2 * * * x", "22-23,0-2"),
    ],
)
def test_remedies_say_what_to_write(line: str, word: str) -> None:
    (finding,) = read(f"{line}\n").findings
    assert word in finding.remedy
    assert str(finding).startswith("crontabs/deploy:1:")


def test_many_findings_are_cut_with_the_errors_first() -> None:
    text = "*5 * * * * x\n" * 5 + "61 * * * * x\n" * 2
    lines = list(render(read(text).findings, limit=3))
    assert [line.split(": ")[1] for line in lines[:3]] == ["error", "error", "warning"]
    assert lines[3:] == ["... and 4 more"]
    assert len(list(render(read(text).findings, limit=7))) == 7


def test_names_outlive_edits_around_the_line() -> None:
    job = "0 3 * * * /srv/bin/backup.sh --full\n"
    (before,) = read(job).jobs
    after = read(f"# new\n* * * * * x\nA=b\n5{job}").jobs[-1]
    assert before.name == after.name == "deploy/backup-sh-full"
    assert name("crontabs/deploy", "/srv/bin/backup.sh --full") == before.name


@pytest.mark.parametrize(
    ("command", "words"),
    [("", "job"), ("/usr/bin/php /srv/a/cron.php x", "php-cron-php-x"), ("éé", "job"), ("x" * 90, "x" * 32)],
)
def test_slugs(command: str, words: str) -> None:
    assert slug(command) == words


@pytest.mark.parametrize("line", [b"* * * * * \xe5", b"* * * * * a\0b", b"61 * * * * x"])
def test_the_policy_of_a_line_that_is_no_job_does_not_pass_to_the_next(line: bytes) -> None:
    [job] = read(b"# lamp: timeout=1m\n" + line + b"\n* * * * * x\n").jobs
    assert job.policy == Policy()
