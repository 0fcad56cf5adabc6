"""`lamp run`, `explain`, `status` and `journal`: what they ask and print, and where they turn when home is dead."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import cli, roots
from commands.operate import client, show
from tests.commands.operation_fakes import DOWN, GONE, Lambdas, Silent, made, planned

TAKING_A_REGION = {"run": ["tasks.status"], "explain": ["a", "2026-03-28T12:00Z"], "status": [], "journal": []}


def test_every_command_that_takes_one_region_is_tried_below() -> None:
    taking = {name for name, command in cli.COMMANDS.items()
              if "region" in inspect.signature(cli._function(command.place)).parameters}
    # `deploy` takes several.
    assert taking == {*TAKING_A_REGION, "deploy"}


@pytest.mark.parametrize("name", TAKING_A_REGION)
def test_a_region_that_fleet_toml_lacks_is_asked_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleet.toml").write_text((roots.PRODUCT / "fleet.toml").read_text())
    monkeypatch.setenv("LAMP_FLEET", str(tmp_path))
    monkeypatch.setattr("boto3.Session", lambda *words: pytest.fail("asked AWS"))
    assert cli.main([name, *TAKING_A_REGION[name], "--stage", "prod", "--region", "eu-west1"]) == 2
    assert ("--region 'eu-west1' is not a region of fleet.toml; did you mean eu-west-1? There are: eu-west-1, "
            in " ".join(capsys.readouterr().err.split()))


READING = {"run": ["run", "schedules.why", '{"job": "a"}'], "explain": ["explain", "a", "2026-03-28T12:00Z"],
           "status": ["status"]}


def standby() -> Lambdas:
    """A region that lives."""
    jobs = {"jobs": [], "home": "eu-west-1", "left_out": 0, "last_minute": None}
    why = {"job": "a", "minute": "12:00", "answer": "done", "sentence": "it ran", "output": ""}
    return Lambdas({"acme-prod-schedules_why": lambda asked: planned(why),
                    "acme-prod-schedules_status": lambda asked: planned(jobs),
                    "acme-prod-journal_alerts": lambda asked: planned({"alerts": []}),
                    "acme-prod-tasks_status": lambda asked: planned({"queues": []})})


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("error", [GONE, DOWN])
def test_command_that_reads_with_a_dead_home_asks_the_next_region_and_says_so(
    name: str, error: Exception, at: Callable[[client.OperationClient], None], capsys: pytest.CaptureFixture[str]
) -> None:
    at(made(Silent(error), standby()))
    assert cli.main(READING[name]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "AWS, eu-west-1, acme-prod-schedules_" in said and "; asked the next region" in said
    assert said.endswith("the answer is that of us-east-1")


def test_command_that_reads_with_a_region_that_was_named_asks_no_other(
    at: Callable[[client.OperationClient], None], capsys: pytest.CaptureFixture[str]
) -> None:
    other = standby()
    at(made(Silent(GONE), other))
    for words in READING.values():
        assert cli.main([*words, "--region", "eu-west-1"]) == 2
    assert other.asked == []


@pytest.mark.parametrize("words", [
    ["schedules.why", "--apply"], ["schedules.why", '{"apply": true}'], ["schedules.why", '{"apply": "abc"}'],
    ["schedules.pause"], ["schedules.pause", "--apply"], ["tunnels.heal"], ["schedules.unheard_of"],
])
def test_run_of_what_may_change_something_never_falls_back(
    words: list[str], at: Callable[[client.OperationClient], None], capsys: pytest.CaptureFixture[str]
) -> None:
    functions = ("schedules_why", "schedules_pause", "tunnels_heal", "schedules_unheard_of")
    other = Lambdas({f"acme-prod-{name}": dict for name in functions})
    at(made(Silent(GONE), other))
    assert cli.main(["run", *words]) == 2
    assert other.asked == []
    assert "name a region with --region (others: us-east-1)" in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[client.OperationClient], None]:
    """Lets the commands find this door."""
    monkeypatch.setenv("COLUMNS", "130")
    return lambda way: monkeypatch.setattr(client, "find", lambda stage, region: way)


PLAN = {"actions": [{"kind": "pause", "target": "backup", "reason": "moving house"}], "notes": ["it runs now"]}


@pytest.mark.parametrize(
    ("words", "asked", "status", "shown", "exits"),
    [
        ([], {}, "planned", "this is only the plan abc. Add --apply to do it", 0),
        (["--apply"], {"apply": True}, "done", "moving house", 0),
        (['{"job": "b"}', "--apply"], {"job": "b", "apply": True}, "done", "note: it runs now", 0),
        (['{"apply": "abc"}'], {"apply": "abc"}, "refused", "refused  why not", 1),
        ([], {}, "failed", "failed  why not", 1),
    ],
)
def test_run(
    words: list[str], asked: Any, status: str, shown: str, exits: int,
    at: Callable[[client.OperationClient], None], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    said = {"operation": "schedules.pause", "status": status, "message": "why not", "digest": "abc", "plan": PLAN}
    lambdas = Lambdas({"acme-prod-schedules_pause": lambda payload: said})
    at(made(lambdas))
    assert cli.main(["run", "schedules.pause", *words]) == exits
    out = capsys.readouterr().out
    assert shown in out and "it said something" in out
    assert lambdas.asked == [asked]
    assert cli.main(["run", "schedules.pause", *words, "--json"]) == exits
    assert json.loads(capsys.readouterr().out)["outcome"] == said


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain words", "plain words"),
        ('{"level": "INFO", "message": "said", "timestamp": "2026-11-23 06:49:41,543+0000"}', "06:49:41 INFO said"),
        ('{"_aws": {}, "Refused": [1.0]}', ""),
        ("[1]", "[1]"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ('{"level": "INFO", "message": "a\\nb\\u001b[2J"}', "INFO a b\\x1b[2J"),
    ],
)
def test_log_lines_for_people(line: str, shown: str) -> None:
    assert show.log_line(line) == shown


def test_what_the_outcome_says_is_not_said_by_the_log_again() -> None:
    outcome = {"status": "done", "message": "2 actions"}
    logged = [json.dumps({"level": "INFO", "timestamp": "2026-03-29 01:00:00", "message": message})
              for message in ("2 actions", "done", "looked twice")]
    assert [show.log_line(line, outcome) for line in logged] == ["", "", "01:00:00 INFO looked twice"]
    assert "" not in [show.log_line(line) for line in logged]


def test_run_of_what_breaks_exits_with_1(
    at: Callable[[client.OperationClient], None], capsys: pytest.CaptureFixture[str]
) -> None:
    at(made(Lambdas({"acme-prod-schedules_run": lambda asked: {"errorType": "E", "errorMessage": "m"}}, broken=True)))
    assert cli.main(["run", "schedules.run"]) == 1
    assert "broke in eu-west-1: E: m" in capsys.readouterr().out


def test_why(at: Callable[[client.OperationClient], None], capsys: pytest.CaptureFixture[str]) -> None:
    told = {"job": "backup", "minute": "2026-03-29T00:30Z", "answer": "DST-moved",
            "sentence": "the clock skipped it", "output": "dumping\n[bold]done"}  # fmt: skip
    lambdas = Lambdas({"acme-prod-schedules_why": lambda asked: planned(told)})
    at(made(lambdas))
    assert cli.main(["explain", "backup", "2026-03-29T02:30+02:00"]) == 0
    assert lambdas.asked == [{"job": "backup", "time": "2026-03-29T00:30Z"}]
    out = capsys.readouterr().out
    assert "DST-moved: the clock skipped it\n  | dumping\n  | [bold]done\n" in out


LAST = {"slot": "2020-11-23T06:30Z", "state": "failed", "why": "due", "region": "us-east-1", "attempt": 1,
        "started": 1.0, "seconds": 2.25, "exit": 3, "detail": ""}  # fmt: skip
JOB = {"job": "cron.d/app/backup-12ab", "schedule": "*/5 * * * *", "tz": "Europe/Stockholm", "on": "lambda",
       "paused": False, "where": "cron.d/app:3", "next": "2020-11-23T06:40Z", "last": LAST}  # fmt: skip
JOBS = {"region": "eu-west-1", "home": "eu-west-1", "timetable": "ab", "coordination": "strong", "left_out": 2,
        "last_minute": {"minute": "2026-11-23T06:35Z", "region": "us-east-1"},
        "jobs": [JOB, JOB | {"job": "new", "last": None, "paused": True}]}  # fmt: skip


def queue(name: str, waiting: int) -> dict[str, Any]:
    return {"name": name, "waiting": waiting, "at_work": 0, "delayed": 0, "oldest": 90,
            "dead_letters": name.endswith("-dead")}  # fmt: skip


ALERT = {"region": "eu-west-1", "operation": "tunnels.heal", "alert": "TunnelDown", "targets": ["slot a", "slot b"],
         "count": 3, "since": "2026-11-23T06:20:00Z", "told": None, "problem": "no tunnel answers", "tried": [],
         "steps": ["Look at the host."]}  # fmt: skip
ALERTS = {"region": "eu-west-1", "alerts": [ALERT, ALERT | {"since": "2026-11-23T06:10:00Z", "targets": ["slot c"],
          "count": 1, "told": "2026-11-23T06:11:00Z"}], "unreadable": ["regional alerts/x: its body is empty"]}


def test_status(at: Callable[[client.OperationClient], None], capsys: pytest.CaptureFixture[str]) -> None:
    queues = {"queues": [queue("default", 7), queue("default-dead", 3), queue("schedule-runs-dead", 0)]}
    home = Lambdas({"acme-prod-schedules_status": lambda asked: planned(JOBS),
                    "acme-prod-journal_alerts": lambda asked: planned(ALERTS),
                    "acme-prod-tasks_status": lambda asked: planned(queues)})  # fmt: skip
    at(made(home, Silent(GONE)))
    assert cli.main(["status", "--job", "b"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert home.asked[0] == {"job": "b"}
    for part in ("last minute started: 2026-11-23T06:35Z by us-east-1, standing in for eu-west-1", "and 2 more",
                 "cron.d/app/backup-12ab", "11-23 06:30 failed 3 in us-east-1 2.2 s 11-23 06:40", "paused",
                 "eu-west-1 default 7 0 0 1m30s", "default-dead 3", "us-east-1: AWS, us-east-1",
                 "TunnelDown: slot c in eu-west-1 since 11-23 06:10:00, people were told at 11-23 06:11:00 no tunnel",
                 "TunnelDown: slot a, slot b and 1 more in eu-west-1 since 11-23 06:20:00, no notice has gone out yet",
                 "1. Look at the host.", "eu-west-1: regional alerts/x: its body is empty"):  # fmt: skip
        assert part in out, part
    assert out.index("slot c") < out.index("slot a") and "no alert stands" not in out
    assert out.count("us-east-1: AWS, us-east-1") == 1
    assert "schedule-runs-dead" not in out, "empty ones are left out"
    assert cli.main(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schedules"] == JOBS
    assert told["alerts"]["eu-west-1"] == ALERTS and "Could not connect" in told["alerts"]["us-east-1"]["error"]
    assert told["queues"]["eu-west-1"] == queues["queues"]
    assert "Could not connect" in told["queues"]["us-east-1"]["error"]


def test_status_says_that_no_alert_stands_if_every_region_said_so(
    at: Callable[[client.OperationClient], None], capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = Lambdas({"acme-prod-schedules_status": lambda asked: planned(JOBS),
                     "acme-prod-journal_alerts": lambda asked: planned({"alerts": [], "unreadable": []}),
                     "acme-prod-tasks_status": lambda asked: planned({"queues": []})})  # fmt: skip
    for ways, said in (((quiet, quiet), True), ((quiet, Silent(GONE)), False)):
        at(made(*ways))
        assert cli.main(["status"]) == 0
        assert ("no alert stands" in capsys.readouterr().out) is said


def test_without_a_demo_a_stage_must_be_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleet.toml").write_text((roots.PRODUCT / "fleet.toml").read_text())
    monkeypatch.setenv("LAMP_FLEET", str(tmp_path))
    monkeypatch.delenv("LAMP_STAGE", raising=False)
    assert cli.main(["status"]) == 2
    assert "no sandbox is up on this machine for this fleet. Name the stage" in capsys.readouterr().err


HOSTILE = "ok \x1b]0;owned\x07 \x9b1A\n2026-11-29  all is well"


@pytest.mark.parametrize(
    ("words", "operation", "report"),
    [
        (["explain", "jobs/one", "2026-03-29T02:30Z"], "schedules_why",
         {"job": HOSTILE, "minute": HOSTILE, "answer": HOSTILE, "sentence": HOSTILE, "output": HOSTILE}),
        (["journal", "--region", "eu-west-1"], "journal_read",
         {"entries": [{"at": HOSTILE, "operation": HOSTILE, "region": HOSTILE, "trigger": HOSTILE, "results": [HOSTILE],
                       "actions": [{"kind": HOSTILE, "target": HOSTILE, "reason": HOSTILE}]},
                      {"at": HOSTILE, "region": HOSTILE, "unreadable": HOSTILE}]}),
        (["run", "x.report"], "x_report", {HOSTILE: [{HOSTILE: HOSTILE}], "more": {HOSTILE: [HOSTILE]}}),
    ],
)  # fmt: skip
def test_foreign_text_neither_steers_the_terminal_nor_begins_a_line(
    words: list[str], operation: str, report: Any,
    at: Callable[[client.OperationClient], None], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    at(made(Lambdas({f"acme-prod-{operation}": lambda asked: planned(report)})))
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "owned" in out and not set(out) & set("\x1b\x07\x9b")
    assert not [line for line in out.splitlines() if line.startswith("2026-11-29")]


def test_foreign_text_of_an_error_is_one_line(
    at: Callable[[client.OperationClient], None], capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"errorType": "KeyError", "errorMessage": HOSTILE}
    at(made(Lambdas({"acme-prod-schedules_why": lambda asked: error}, broken=True)))
    assert cli.main(["explain", "a", "2026-03-29T02:30Z"]) == 1
    at(made(Lambdas({"acme-prod-schedules_status": lambda asked: {"message": f"no report {HOSTILE}"}})))
    assert cli.main(["status"]) == 2
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert "owned" in text and not set(text) & set("\x1b\x07\x9b")
