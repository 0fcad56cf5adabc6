"""The command line, with its commands and their calls.

A command is a plain function with typer's annotations in a module of its own. Only its call imports the module, so that
`./lamp` and `./lamp fires` start fast. An exception `Mistake` (or `FleetError`) of a command is printed in one piece
without a stack trace, and the status is 2. Ctrl-C ends with 130.
"""

import difflib
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from commands.errors import UsageError


class Command(NamedTuple):
    """The module of a command's function and its line in the list.

    A command with `own` options passes all other words on to another program, however they look.
    """

    place: str
    line: str
    own: tuple[str, ...] = ()


COMMANDS = {
    "demo": Command("demo.demo:demo", "three regions on this machine; one gets killed"),
    "test": Command("develop.test:test", "everything CI checks; --fast: under a minute", own=("--fast", "--help")),
    "check": Command("develop.check:check", "lint, types, imports, template, fleet.toml, cron/"),
    "fires": Command("cron.next:fires", "when each line of a crontab or cron.yaml fires"),
    "diff": Command("cron.diff:diff", "fires gained and lost between two cron/ folders"),
    "deploy": Command("deploy.deploy:deploy", "every region of the fleet, change set shown first"),
    "status": Command("operate.status:status", "jobs, queues and dead letters"),
    "run": Command("operate.run:run", "one operation now: its plan, or its outcome"),
    "why": Command("operate.explain:why", "why a job ran, or did not, at that minute"),
    "routing compile": Command("routing.commands:compile_", "the Route 53 record sets that fleet.toml makes"),
    "routing answer": Command("routing.commands:answer", "which region a user gets, and over which records"),
    "routing prove": Command("routing.commands:prove", "every place, every subset of living regions"),
    "routing conform": Command("conformance.run:conform", "the rules relied on, tried in your own hosted zone"),
    "routing map": Command("routing.map:draw", "who goes where, today and if a region dies"),
    "bench schedules": Command("bench.schedules:bench", "the timetable beside cronsim, croniter and others"),
    "bench tasks": Command("bench.tasks:bench", "a task beside the same one in a bare BatchProcessor"),
    "bench tunnels": Command("bench.tunnels:bench", "probes a second, none blocked; replication gaps"),
    "simulate schedules": Command("develop.simulate_schedules:simulate",
                                  "exactly once, through crashes and lost regions"),
    "simulate tunnels": Command("develop.simulate_tunnels:simulate", "a healer that may do no harm, whatever happens"),
    "simulate health-checks": Command("develop.simulate_health_checks:simulate",
                                      "rotation never flips a region's verdict"),
}


# What other rooms of the house call a mistake of the user.
MISTAKES = (("chalicelib.config.fleet", "FleetError"), ("sandbox.world", "WorldError"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that `arguments` (by default the process's own) name. The exit status."""
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not isinstance(error, _mistakes()):
            raise
        return _complain(str(error))


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("help", "-h", "--help"):
        return _list(COMMANDS)
    for length in (1, 2):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return _call(name, words[length:])
    family = {name: command for name, command in COMMANDS.items() if name.split()[0] == words[0]}
    if family and words[1:] in ([], ["--help"], ["-h"]):
        return _list(family)
    raise UsageError(_unknown(" ".join(words[:2] if family else words[:1])))


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean ./lamp {close[0]}?" if close else "./lamp alone lists the commands."
    return f"{name!r} is not a command; {hint}"


def _call(name: str, words: list[str]) -> int:
    import typer

    command = COMMANDS[name]
    if command.own:
        words = sorted(words, key=lambda word: word not in command.own)
        words.insert(sum(word in command.own for word in words), "--")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(_function(command.place))
    try:
        app(words, prog_name=f"./lamp {name}")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _function(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(f"commands.{module}"), name)
    return function


def _list(commands: dict[str, Command]) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="bold yellow", no_wrap=True)
    for name, command in commands.items():
        table.add_row(f"  {name}", command.line)
    console = Console(highlight=False)
    console.print(Text.assemble(("Lamplighter", "bold"), " runs your crontabs and background tasks without a host.\n"))
    console.print(table)
    console.print("\n  ./lamp COMMAND --help tells more.", style="dim")
    return 0


def _mistakes() -> tuple[type[Exception], ...]:
    # One that was raised comes from a module that is loaded; the others need no import.
    loaded = (getattr(sys.modules.get(module), name, None) for module, name in MISTAKES)
    return (UsageError, *filter(None, loaded))


def _complain(text: str) -> int:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    for line in text.splitlines():
        console.print(Text.assemble(("error: ", "bold red"), line), soft_wrap=True)
    return 2
