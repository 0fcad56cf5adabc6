"""`./lamp cron next`: the list that it prints, its exit status, and what it says on stderr."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.config.fleet import load
from chalicelib.crontab import loader, parser
from chalicelib.crontab.dst import stamp
from chalicelib.crontab.timetable import Timetable, build
from commands import roots
from commands.cli import main
from commands.cron.next import Line, Window, explain, names_users, window
from commands.develop import init
from commands.errors import UsageError
from tests.crontab.strategies import minutes, schedules, tzs

NOW = datetime(2026, 3, 29, 0, 59, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fleet(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new fleet, whose zone is UTC, is the one that is worked on."""
    folder = tmp_path_factory.mktemp("acme")
    init.write(folder, init.contents("acme"))
    monkeypatch.setenv("LAMP_FLEET", str(folder))
    return folder


def rezone(fleet: Path, zone: str) -> None:
    """The zone of `fleet` is another one."""
    declared = (fleet / "fleet.toml").read_text()
    assert declared.count('timezone = "UTC"') == 1, "lamp init writes UTC"
    (fleet / "fleet.toml").write_text(declared.replace('timezone = "UTC"', f'timezone = "{zone}"'))


def bare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`rows` without the zone and the next time, which most tests do not ask for."""
    return [{key: value for key, value in row.items() if key not in ("tz", "next_utc")} for row in rows]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]], str]:
    status = main(["cron", "next", *words, "--json"])
    said = capsys.readouterr()
    return status, bare(json.loads(said.out)), said.err


def write(folder: Path, text: str, name: str = "crontab") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return str(path)


def test_every_minute_of_every_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "# c\n\n*/5 * * * * x\n@hourly y\n")
    assert run(capsys, file, "--from", "2026-03-29T00:55", "--to", "2026-03-29T01:05Z") == (
        0,
        [
            {"line": 3, "schedule": "*/5 * * * *", "fires_utc": ["2026-03-29T00:55:00Z", "2026-03-29T01:00:00Z"]},
            {"line": 4, "schedule": "@hourly", "fires_utc": ["2026-03-29T01:00:00Z"]},
        ],
        "",
    )


def test_lines_that_cannot_be_read_are_on_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "0 0 1 1 * x\nCRON_TZ=Mars/Olympus\nCRON_TZ=UTC\n  61 * * * * x\n@reboot x\n0 0 1 1 * x\n")
    status, rows, err = run(capsys, file, "--from", "2026-03-01", "--to", "2026-03-02")
    assert status == 1
    assert err.splitlines() == [f"{file}:5:1: warning: @reboot names no time, so the line is left out; give it a "
                                "schedule, since nothing here reboots. A step after a release belongs to the release "
                                "[reboot]"]
    assert rows == [
        {"line": 1, "schedule": "0 0 1 1 *", "fires_utc": []},
        {"line": 2, "column": 9, "error": "unknown time zone 'Mars/Olympus'"},
        {"line": 4, "column": 3, "error": "bad minute"},
        {"line": 6, "schedule": "0 0 1 1 *", "fires_utc": []},
    ]


@pytest.mark.parametrize(
    "text", ["0 0 * * * x", "0 0 * * * x\nA=b", "0 0 * * * x\r\n", "#\n" * 10_003 + "0 0 * * * x\n"]
)
def test_what_voids_the_file_is_told_but_its_fires_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    status, rows, err = run(capsys, write(tmp_path, text), "--from", "2026-03-01", "--to", "2026-03-02")
    assert (status, [row["fires_utc"] for row in rows]) == (0, [["2026-03-01T00:00:00Z"]])
    assert "error: " in err


@pytest.mark.slow
def test_the_help_says_what_is_told_on_stderr_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cron", "next", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "for 5 years at most" in said
    assert "go to stderr. The fires are listed all the same, and the status stays 0" in said


def test_lines_below_a_zone_that_is_none_are_on_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "CRON_TZ=Mars/Olympus\n  0 0 1 1 * x\n0 1 1 1 * y\nCRON_TZ=UTC\n0 0 1 1 * x\n")
    status, rows, err = run(capsys, file, "--from", "2026-03-01", "--to", "2026-03-02")
    assert (status, err) == (1, "")
    assert rows == [
        {"line": 1, "column": 9, "error": "unknown time zone 'Mars/Olympus'"},
        {"line": 2, "column": 3, "error": "the zone of this line is unknown (CRON_TZ in line 1)"},
        {"line": 3, "column": 1, "error": "the zone of this line is unknown (CRON_TZ in line 1)"},
        {"line": 5, "schedule": "0 0 1 1 *", "fires_utc": []},
    ]


def test_warnings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, rows, err = run(capsys, write(tmp_path, "0 0 * * fri-sun x\n"))
    assert (status, [row["fires_utc"] for row in rows]) == (0, [[]])
    assert "never-runs" in err


def test_zones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "30 2 * * * a\nCRON_TZ=America/New_York\n30 2 * * * b\nCRON_TZ=UTC\n30 2 * * * c\n")
    words = (file, "--from", "2026-03-29", "--to", "2026-03-30", "--tz", "Europe/Stockholm")
    _, rows, _ = run(capsys, *words)
    # Stockholm's clock skips 02:30 on that day: a job of fixed time runs when it has gone forward.
    assert [row["fires_utc"] for row in rows] == [
        ["2026-03-29T01:00:00Z"], ["2026-03-29T06:30:00Z"], ["2026-03-29T02:30:00Z"]]  # fmt: skip


SKIPPED = "CRON_TZ=Europe/Stockholm\n0,20,40 2 * * * x\n*/20 2 * * * y\n10 2,3 * * * z\n"
SPRING = ("--from", "2026-03-29T00:59Z", "--to", "2026-03-29T02:00Z")


def test_a_minute_stands_there_once_for_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, SKIPPED)
    _, rows, _ = run(capsys, file, *SPRING)
    assert [row["fires_utc"] for row in rows] == [
        ["2026-03-29T01:00:00Z"] * 3, [], ["2026-03-29T01:00:00Z", "2026-03-29T01:10:00Z"]]
    main(["cron", "next", file, *SPRING])
    told = capsys.readouterr().out
    assert "3      2026-03-29 01:00 (3 runs)" in told and "2      2026-03-29 01:00, 01:10" in told


@pytest.mark.slow
@given(st.lists(schedules, min_size=1, max_size=3), tzs, st.data())
def test_there_are_as_many_runs_as_the_timetable_starts(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], tz: str, data: st.DataObject
) -> None:
    start = data.draw(minutes(tz, before=100))
    file = tmp_path_factory.getbasetemp() / "runs"
    file.write_text("".join(f"{line} x\n" for line in [f"CRON_TZ={tz}\n30 2 * * *", "0-59 1-3 * * *", *lines]))
    rows = [row for row in explain(file, "UTC", Window(start, start + 200)).rows if isinstance(row, Line)]
    table = Timetable.load(build(parser.read(file.read_bytes(), parser.Source("runs", False)).jobs))
    due = [Counter[str]() for _ in rows]
    for minute in range(start, start + 200):
        for fire in table.due(minute).fires():
            due[fire.job][f"{stamp(minute)}:00Z"] += 1
    assert [Counter(row.fires_utc) for row in rows] == due


@pytest.mark.parametrize(
    ("name", "flag", "failing"),
    [("cron.d/app", [], False), ("app", [], True), ("app", ["--system"], False), ("cron.d/app", ["--user"], True)],
)
def test_the_user_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, flag: list[str], failing: bool
) -> None:
    file = write(tmp_path, "0 0 1 1 * www-data * x\n" if failing else "0 0 1 1 * www-data x\n", name)
    status, rows, err = run(capsys, file, *flag)
    assert (status, len(rows)) == (0, 1)
    assert ("user-column" in err) is failing


@pytest.mark.parametrize(
    ("file", "users"),
    [("/etc/crontab", True), ("/etc/cron.d/app", True), ("cron/cron.d/app", True), ("crontab", False)],
)
def test_which_files_name_users(file: str, users: bool) -> None:
    assert names_users(Path(file)) is users


def test_a_wrong_user_column_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, rows, _ = run(capsys, write(tmp_path, "0 0 1 1 * /bin/x y\n", "cron.d/app"))
    assert (status, rows) == (1, [{"line": 1, "column": 11, "error": "bad username"}])


def test_cron_yaml_and_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = '  - name: {0}\n    url: /{0}\n    schedule: "{1} 0 * * *"\n'
    yaml = "version: 1\ncron:\n" + entry.format("a", 0) + entry.format("b", 60)
    status, rows, err = run(capsys, write(tmp_path, yaml, "cron.yaml"), "--from", "2026-03-01", "--to", "2026-03-02")
    assert (status, [row["line"] for row in rows]) == (1, [3, 8])
    assert err == ""
    assert rows[0]["fires_utc"] == ["2026-03-01T00:00:00Z"]
    python = 'from lamplighter import job\n\n\n@job("0 9 * * *", tz="Asia/Tokyo")\ndef a() -> None: ...\n'
    status, rows, _ = run(capsys, write(tmp_path, python, "a.py"), "--from", "2026-03-01", "--to", "2026-03-02")
    assert (status, rows) == (
        0, [{"line": 4, "schedule": "0 9 * * *", "fires_utc": ["2026-03-01T00:00:00Z"]}])  # fmt: skip


def test_an_empty_list_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, write(tmp_path, "# nothing\n")) == (0, [], "")


def test_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "*/5 * * * * x\n61 * * * * y\n")
    assert main(["cron", "next", file, "--from", "2026-03-29T00:55", "--to", "2026-03-30"]) == 1
    said = capsys.readouterr().out
    assert "2026-03-29 00:55, 01:00, 01:05" in " ".join(said.split())
    assert "bad minute (column 1)" in said


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2026-03-29T01:00Z", "2026-03-29T02:00", "01:00", "02:00"),
        ("2026-03-29T03:00+02:00", "2026-03-29T01:00:01Z", "01:00", "01:01"),
        ("2026-03-29T00:59:59", "2026-03-29T01:00:00", "01:00", "01:00"),
        ("", "2026-03-29T02:00", "01:00", "02:00"),
    ],
)
def test_from_is_included_and_to_is_not(start: str, end: str, first: str, last: str) -> None:
    expected = [
        int(datetime.fromisoformat(f"2026-03-29T{time}Z").timestamp()) // 60 for time in (first, last)]  # fmt: skip
    assert list(window(start, end, NOW)) == expected


def test_five_years_are_not_too_long() -> None:
    start, end = window("2026-01-01", "2031-01-01", NOW)
    assert end - start == (5 * 365 + 1) * 1440


def test_a_day_is_the_default() -> None:
    start, end = window("", "", NOW)
    assert (start * 60, end - start) == (int(NOW.timestamp()) + 30, 1440)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "tomorrow"], "--from 'tomorrow' is not a time"),
        (["--to", "2026-13-01"], "--to '2026-13-01' is not a time"),
        (["--from", "2026-03-02", "--to", "2026-03-01"], "--to lies before --from"),
        (["--from", "0001-01-01", "--to", "0001-01-02"], "--from, --to"),
        (["--from", "2026-01-01", "--to", "2031-01-06"], "more than 5 years lie between --from and --to. Ask for"),
        (["--tz", "Mars/Olympus"], "'Mars/Olympus'"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["cron", "next", write(tmp_path, "* * * * * x\n"), *words]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert said in err
    assert "Traceback" not in err


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere \(No such file"):
        explain(tmp_path / "nowhere", "UTC", Window(0, 1))


@pytest.mark.slow
@given(st.binary(max_size=300))
def test_any_file_has_a_report(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(data)
    report = explain(file, "UTC", Window(29_000_000, 29_000_060))
    assert [row.line for row in report.rows] == sorted(row.line for row in report.rows)


NEW_YEAR = ("--from", "2026-01-01", "--to", "2026-01-02")


def test_a_line_without_a_zone_is_in_the_zone_of_the_fleet_as_status_has_it(
    fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rezone(fleet, "Asia/Tokyo")
    files = [write(fleet / "cron", "0 9 * * * x\n", "crontabs/ann"),
             write(fleet / "cron", 'from lamplighter import job\n\n\n@job("0 9 * * *")\ndef a(): ...\n', "b.py")]
    loaded = {job.file: job.tz for job in loader.load(fleet / "cron", load(fleet / "fleet.toml")).jobs}
    for file in files:
        assert main(["cron", "next", file, *NEW_YEAR, "--json"]) == 0
        [row] = json.loads(capsys.readouterr().out)
        assert row["fires_utc"] == ["2026-01-01T00:00:00Z"]
        assert row["tz"] == loaded[str(Path(file).relative_to(fleet / "cron"))] == "Asia/Tokyo"
        assert main(["cron", "next", file, *NEW_YEAR]) == 0
        assert "lines without CRON_TZ are in Asia/Tokyo" in capsys.readouterr().out


def test_the_fleet_above_a_file_speaks_for_it_and_else_the_one_that_is_worked_on(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rezone(fleet, "Asia/Tokyo")
    other = tmp_path / "other"
    init.write(other, init.contents("other"))
    rezone(other, "America/New_York")
    for folder, hour in ((other / "cron", "14"), (tmp_path, "00")):
        _, [row], _ = run(capsys, write(folder, "0 9 * * * x\n", "crontabs/ann"), *NEW_YEAR)
        assert row["fires_utc"] == [f"2026-01-01T{hour}:00:00Z"]


def test_without_a_fleet_the_zone_is_utc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LAMP_FLEET")
    monkeypatch.setattr(roots, "installed", lambda: True)
    monkeypatch.chdir(tmp_path)
    _, [row], _ = run(capsys, write(tmp_path, "0 9 * * * x\n"), *NEW_YEAR)
    assert row["fires_utc"] == ["2026-01-01T09:00:00Z"]


def test_lint_and_diff_of_files_read_them_as_the_fleet_does(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rezone(fleet, "Europe/Stockholm")
    # 02:30 is skipped in Stockholm in spring, and in UTC never.
    before, after = (write(tmp_path / name, line, "crontabs/ann") for name, line in (
        ("before", "30 2 * * * x\n"), ("after", "CRON_TZ=UTC\n30 1 * * * x\n")))
    assert main(["cron", "diff", *(str(Path(file).parents[1]) for file in (before, after)), "--from", "2026-01-01",
                 "--days", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gained"] == 0, "in winter both are 01:30 UTC"
    main(["cron", "lint", before, "--json"])
    by_itself = [one["code"] for one in json.loads(capsys.readouterr().out)]
    main(["cron", "lint", str(Path(before).parents[1]), "--json"])
    assert by_itself == [one["code"] for one in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize(("schedule", "shown", "following"), [
    ("0 6 * * 1", "next 2026-01-05 06:00", "2026-01-05T06:00:00Z"),
    ("0 6 1 1 *", "2026-01-01 06:00", "2026-01-01T06:00:00Z"),
    ("0 0 29 2 *", "next 2028-02-29 00:00", "2028-02-29T00:00:00Z"),
    ("0 0 30 2 *", "never within nine years", ""),
])
def test_a_line_without_a_fire_in_the_window_tells_its_next_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], schedule: str, shown: str, following: str
) -> None:
    file = write(tmp_path, f"{schedule} x\n")
    assert main(["cron", "next", file, *NEW_YEAR, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["next_utc"] == following
    assert main(["cron", "next", file, *NEW_YEAR]) == 0
    assert shown in " ".join(capsys.readouterr().out.split())
