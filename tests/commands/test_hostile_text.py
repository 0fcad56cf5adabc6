"""Text of others on the terminal. Each field that a command renders takes a hostile text in turn, and shows it."""

import ast
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import foreign
from chalicelib.config import fleet
from chalicelib.crontab.diagnostics import Diagnostic, render
from chalicelib.crontab.diff import Change as JobChange
from chalicelib.crontab.diff import Firings, Window
from commands import cli, roots, terminal
from commands.bench import figures
from commands.conformance import cases, queries
from commands.conformance import run as conformance
from commands.cron import diff
from commands.cron import next as cron_next
from commands.demo import screen
from commands.demo.part import Section
from commands.deploy import deploy
from commands.deploy.release import Done
from commands.deploy.stacks import Change, Prepared, Stack
from commands.develop import check, timelines
from commands.operate import client, explain, journal, run, show, status
from sandbox.ran import Slot

# Links, a title, a cleared screen, a moved cursor, each kind of markup and emoji, each kind of line break, and bidi.
HOSTILE = ("MARK\x1b]8;;http://evil\x1b\\x\x1b]0;t\x07\x1b[2J\x9b1A[/][link=http://evil]y[/link][bold]:warning:"
           "\nforged\r\nforged\x0bforged\x85forged\u2028forged\u202e\x00\ud800")
BENIGN = foreign.line(HOSTILE)
# What rich itself writes for a colour.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ROOT = Path(roots.PRODUCT)

ACTION = {"kind": "restart", "target": "i-1", "reason": "it hangs", "trigger": "manual"}
OUTCOME = {"status": "planned", "message": "one action", "digest": "abc", "results": ["done so"], "plan": {
    "notes": ["a note"], "actions": [ACTION], "report": {
        "queue": "default", "open": True, "jobs": ["a", "b"], "by_name": {"a": "b"},
        "letters": [{"id": "1", "task": "a.b", "error": "ValueError: none", "body": {"k": "v"}, "seen": ["x"]}]}}}
WHY = {"plan": {"report": {"job": "a/b", "minute": "2026-03-29T02:30Z", "answer": "ran", "sentence": "It ran",
                           "output": "its output"}}}
ENTRY = {"at": "2026-03-28 12:00:00", "region": "eu-west-1", "operation": "schedules.pause", "request": "7c5a",
         "trigger": "manual", "version": "abc", "actions": [ACTION], "count": 3, "results": ["paused"]}
JOBS = {"home": "eu-west-1", "left_out": 2, "last_minute": {"minute": "2026-03-28T12:00Z", "region": "us-east-1"},
        "jobs": [{"job": "a/b", "schedule": "* * * * *", "tz": "Europe/Stockholm", "paused": False,
                  "next": "2026-03-30T06:00Z", "last": {"slot": "2026-03-28T12:00Z", "state": "timed-out",
                                                        "seconds": 12.3, "exit": 3, "region": "us-east-1"}}]}
QUEUES = {"eu-west-1": [{"name": "default", "waiting": 1, "at_work": 0, "delayed": 0, "oldest": 60,
                         "dead_letters": False}], "us-east-1": {"error": "no answer"}}
ALERTS = {"eu-west-1": {"alerts": [{
    "alert": "Missed", "region": "eu-west-1", "since": "2026-11-23T06:10:00Z", "targets": ["slot c"], "count": 2,
    "told": "2026-11-23T06:11:00Z", "problem": "it was not run", "steps": ["Look at it"]}],
    "unreadable": ["regional alerts/x: its body is empty"]}, "us-east-1": {"error": "no answer"}}
FLEET = fleet.parse('name = "acme"\n[[regions]]\nname = "eu-west-1"\n[coordination]\nregions = ["eu-west-1"]\n', "x")
RAN = {"job": "a", "slot": "2026-11-29T02:00Z", "minute": 100, "state": "done", "region": "eu"}


class Rendered(NamedTuple):
    """A renderer, its sample value, and the module whose console it is."""

    module: Any
    draw: Callable[[Any, Any], object]
    value: Any


def answer(value: Any) -> client.Answer:
    return client.Answer(value["region"], value["outcome"], value["error"], value["log"])


def _picture(console: Any, value: Any) -> None:
    slot = Slot(value["job"], value["slot"], 100, value["state"], value["region"], 3.0, 1, 1)
    console.print(screen.Picture(value["notes"], [value["region"], value["down"]], value["down"], range(100, 102),
                                 [slot], {value["user"]: value["region"]}))
    with screen.shown(terminal.Console(file=console.file)) as update:
        update(screen.Picture(value["notes"], [], "", range(100, 102), [], {}))


def _prepared(console: Any, value: Any) -> None:
    stack = Stack(value["region"], value["stack"])
    plan = Prepared(stack, "set", True, (Change(value["action"], value["kind"], value["id"]),))
    shown = deploy.Screen(console)
    with shown:
        shown.jobs([(value["word"], value["job"])])
        shown.prepared([plan])
        shown.begin(plan)
        shown.moved(stack, value["id"], value["action"])
        shown.end(Done(value["region"], value["stack"], value["action"], {}))


def _verdicts(console: Any, value: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "gather", lambda checks: [check.Verdict(value["check"], True, 1.0, value["findings"])])
        check.report({})


RENDERED: dict[str, Rendered] = {
    "outcome": Rendered(show, show.outcome, OUTCOME),
    "query": Rendered(show, show.outcome, {"status": "done", "message": "", "plan": {"report": OUTCOME["plan"]}}),
    "run": Rendered(run, lambda console, value: run._print(answer(value)), {
        "region": "eu-west-1", "outcome": OUTCOME, "error": "",
        "log": ["START", '{"level": "INFO", "message": "said", "timestamp": "2026-03-28 12:00:00,1"}']}),
    "run broke": Rendered(run, lambda console, value: run._print(answer(value)), {
        "region": "eu-west-1", "outcome": {}, "error": "KeyError: x", "log": []}),
    "explain": Rendered(explain, lambda console, value: explain._print(console, answer(value)), {
        "region": "eu-west-1", "outcome": WHY, "error": "", "log": []}),
    "explain broke": Rendered(explain, lambda console, value: explain._print(console, answer(value)), {
        "region": "eu-west-1", "outcome": {}, "error": "KeyError: x", "log": []}),
    "journal": Rendered(journal, lambda console, value: journal._print(console, value["entries"], value["answers"]), {
        "entries": [ENTRY, {"at": "2026", "region": "eu-west-1", "unreadable": "why"}],
        "answers": {"eu-west-1": {"left_out": True}, "us-east-1": {"error": "no answer"}}}),
    "status": Rendered(status, lambda console, value: status._print(
        client.OperationClient(FLEET, "prod", lambda service, region: None, "AWS"), *value.values()),
        {"alerts": ALERTS, "jobs": JOBS, "queues": QUEUES}),
    "status at rest": Rendered(status, lambda console, value: status._print(
        client.OperationClient(FLEET, "prod", lambda service, region: None, "AWS"), {}, value["jobs"], {}),
        {"jobs": {**JOBS, "jobs": []}}),
    "deployed": Rendered(deploy, lambda console, value: deploy.conclude(console, [Done(
        value["region"], value["stack"], "failed", {}, 1.0, value["error"])]),
        {"region": "eu-west-1", "stack": "acme-prod", "error": "Role: no"}),
    "changes": Rendered(deploy, _prepared, {"region": "eu-west-1", "stack": "acme-prod", "action": "add",
                                            "kind": "AWS::SQS::Queue", "id": "Queue",
                                            "word": "paused", "job": "a/b (since then: moving)"}),
    "check": Rendered(check, _verdicts, {"check": "fleet", "findings": ["cron/x:1:1: error: no"]}),
    "cron diff": Rendered(diff, lambda console, value: diff._show(console, [JobChange(
        value["name"], value["before"], value["after"], Firings(Window(0, 1)), Firings(Window(0, 1)))], Window(0, 1),
        1, 1), {"name": "a/b", "before": "* * * * * UTC", "after": "1 * * * * UTC"}),
    "cron next": Rendered(cron_next, lambda console, value: cron_next._print(cron_next.Report([cron_next.Line(
        1, value["schedule"], "UTC", ["2026-03-29T01:00:00Z"], ""), cron_next.Failure(2, 1, value["error"])], [],
        value["tz"])), {"schedule": "* * * * *", "error": "bad minute", "tz": "UTC"}),
    "demo": Rendered(screen, lambda console, value: screen.conclude(console, Section(
        value["title"], show.rows("t", [value["row"]]), value["sentences"], None, value["failures"])),
        {"title": "Jobs", "row": {"a": "b"}, "sentences": ["It held"], "failures": ["It did not"]}),
    "picture": Rendered(screen, _picture, {**RAN, "notes": {"jobs": "they run"}, "down": "us", "user": "SE"}),
    "conformance": Rendered(conformance, lambda console, value: console.print(conformance._table([queries.Result(
        cases.Case(value["rule"], "g", value["client"], value["answer"], value["says"]), {value["got"]: 1})])),
        {"rule": "r", "client": "SE", "answer": "1.2.3.4", "says": "geo", "got": "1.2.3.5"}),
    "conformance fails": Rendered(conformance, lambda console, value: console.print(conformance._conclusion([
        queries.Result(cases.Case(value["rule"], "g", "c", "a", "s"), {"b": 1})], False)), {"rule": "r"}),
    "figures": Rendered(figures, lambda console, value: figures._print([figures.Figure(
        value["name"], 1.0, value["unit"], "at most", 2.0)]), {"name": "probes", "unit": "1/s"}),
    "timelines": Rendered(timelines, lambda console, value: timelines._print(
        {"timelines": 1, "harm": [{"seed": 1, "what": [value["what"]]}]}, "t"), {"what": "two primaries"}),
    "error": Rendered(cli, lambda console, value: cli._complain(value["error"]), {"error": "it broke"}),
}
# A message of `UsageError` may list several mistakes, one a line; each line is an error of its own.
SEVERAL = {"error"}
# Modules with a console that show constant words, names of stages and regions, and figures of simulations only.
OWN_WORDS = {"commands.deploy.sandbox", "commands.demo.demo", "commands.develop.init", "commands.routing.map",
             "commands.develop.simulate_databases", "commands.develop.simulate_health_checks",
             "commands.develop.simulate_schedules", "commands.develop.simulate_tunnels", "commands.routing.commands"}


def texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each text in `value`."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from texts(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], text: str) -> Any:
    if not path:
        return text
    if isinstance(value, dict):
        return {key: replaced(inner, path[1:], text) if key == path[0] else inner for key, inner in value.items()}
    return [replaced(inner, path[1:], text) if at == path[0] else inner for at, inner in enumerate(value)]


def renamed(value: Any, path: tuple[Any, ...], text: str) -> Any:
    """`value` with the key at `path` called `text`."""
    if isinstance(value, dict) and len(path) == 1:
        return {text if key == path[0] else key: inner for key, inner in value.items()}
    if isinstance(value, dict):
        return {key: renamed(inner, path[1:], text) if key == path[0] else inner for key, inner in value.items()}
    return [renamed(inner, path[1:], text) if at == path[0] else inner for at, inner in enumerate(value)]


def printed(one: Rendered, value: Any, width: int = 4000) -> str:
    file = io.StringIO()
    console = terminal.Console(file=file, width=width, force_terminal=True, color_system="truecolor")
    with pytest.MonkeyPatch.context() as patch:
        for module in (one.module, terminal):
            if hasattr(module, "Console"):
                patch.setattr(module, "Console", lambda **settings: console)
        one.draw(console, value)
    return file.getvalue()


def safe(text: str) -> None:
    """Nothing in `text` but what prints, line breaks and colours."""
    rest = _COLOUR.sub("", text).replace("\n", "")
    # The bars of a deployment and the status line move the cursor and hide it by themselves.
    rest = re.sub(r"\x1b\[(\?25[lh]|2K|1A|\d*[GA])|\r", "", rest)
    assert rest.isprintable(), rest


@pytest.mark.slow
@pytest.mark.parametrize("name", RENDERED)
def test_each_rendered_field_is_shown_and_never_obeyed(name: str) -> None:
    one = RENDERED[name]
    shown = 0
    for path in texts(one.value):
        benign, hostile = (printed(one, replaced(one.value, path, text)) for text in (BENIGN, HOSTILE))
        safe(hostile)
        if "MARK" not in benign:
            continue
        shown += 1
        assert "MARK" in hostile and "[/]" in hostile and "[link=http://evil]y[/link][bold]:warning:" in hostile, path
        if name not in SEVERAL and "output" not in path:
            assert hostile.count("\n") == benign.count("\n"), (path, hostile)
    assert shown


@pytest.mark.parametrize("path", [("plan", "report", "queue"), ("plan", "report", "letters", 0, "task"),
                                  ("plan", "report", "by_name", "a")])
def test_the_key_of_a_report_is_text_as_well(path: tuple[Any, ...]) -> None:
    hostile = printed(RENDERED["outcome"], renamed(OUTCOME, path, HOSTILE))
    safe(hostile)
    assert "MARK" in hostile and "[link=http://evil]y[/link]" in hostile


@pytest.mark.slow
@pytest.mark.parametrize("width", [20, 80])
@pytest.mark.parametrize("name", RENDERED)
def test_a_narrow_terminal_obeys_nothing_either(name: str, width: int) -> None:
    for path in texts(RENDERED[name].value):
        safe(printed(RENDERED[name], replaced(RENDERED[name].value, path, HOSTILE), width))


@given(st.text())
def test_whatever_the_text_is_an_outcome_shows_it(text: str) -> None:
    safe(printed(RENDERED["outcome"], {"status": text, "message": text, "plan": {
        "actions": [{"kind": text, "target": text, "reason": text}], "report": {text: [{text: text}]}}}))


@given(st.text())
def test_a_written_line_and_written_json_hold_nothing_that_a_terminal_obeys(text: str) -> None:
    finding = Diagnostic(text, 1, 1, "error", "x", text, text)
    with pytest.MonkeyPatch.context() as patch:
        out = io.StringIO()
        patch.setattr("sys.stdout", out)
        for line in render([finding]):
            terminal.write(line)
        terminal.write_json({text: text})
    assert out.getvalue().replace("\n", "").isprintable()
    assert json.loads("\n".join(out.getvalue().splitlines()[-3:])) == {text: text}


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted((ROOT / "commands").rglob("*.py")):
        yield ".".join(file.relative_to(ROOT).with_suffix("").parts), ast.parse(file.read_text())


def _calls(tree: ast.Module, name: str) -> bool:
    return any(isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
               for node in ast.walk(tree))


@pytest.mark.slow
def test_only_the_one_place_makes_consoles_and_prints() -> None:
    # The list of commands starts without the libraries of the rest, and the others print words of our own.
    excused = {"commands.cli", "commands.terminal", "commands.exclusive", "commands.bench.schedules",
               "commands.bench.cold_start"}
    printing = {name for name, tree in _modules() if _calls(tree, "print")}
    imported = {name for name, tree in _modules() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                and node.module == "rich.console" and any(alias.name == "Console" for alias in node.names)
                and _calls(tree, "Console")}
    marked = {name for name, tree in _modules() for node in ast.walk(tree) if isinstance(node, ast.Attribute)
              and node.attr in ("from_markup", "echo", "secho")}
    assert (printing - excused, imported - excused, marked) == (set(), set(), set())


@pytest.mark.slow
def test_each_module_with_a_console_is_among_those_that_are_tried() -> None:
    with_console = {name for name, tree in _modules() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                    and node.module == "commands.terminal" and any(alias.name == "Console" for alias in node.names)}
    tried = {one.module.__name__ for one in RENDERED.values()}
    assert with_console - tried == OWN_WORDS - tried
