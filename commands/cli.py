"""The command line, with its commands and their calls.

A command is a plain function with typer's annotations in a module of its own. Only its call imports the module, so that
`./lamp` starts fast. An exception `UsageError` (or `FleetError`) of a command is printed in one piece
without a stack trace, and the status is 2. Ctrl-C ends with 130.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from chalicelib.version import VERSION
from commands import roots
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
    "test": Command("develop.test:test", "all checks of CI, or with --fast those under a "
                                         "minute", own=("--fast", "--help")),
    "check": Command("develop.check:check", "lint, types, imports, template, fleet.toml, cron/"),
    "init": Command("develop.init:init", "a repository for a fleet of your own"),
    "cron next": Command("cron.next:fires", "when each line of a crontab or cron.yaml fires"),
    "cron diff": Command("cron.diff:diff", "fires gained and lost between two cron/ folders"),
    "cron lint": Command("cron.lint:lint", "faults and oddities of crontabs and @job files"),
    "deploy": Command("deploy.deploy:deploy", "every region of the fleet, change set shown first"),
    "status": Command("operate.status:status", "jobs, queues and dead letters"),
    "run": Command("operate.run:run", "one operation now, as its plan or its outcome"),
    "explain": Command("operate.explain:why", "why a job ran, or did not, at that minute"),
    "journal": Command("operate.journal:journal", "the actions in each region, with time and reason"),
    "routing compile": Command("routing.commands:compile_", "the Route 53 record sets that fleet.toml makes"),
    "routing answer": Command("routing.commands:answer", "which region a user gets, and over which records"),
    "routing verify": Command("routing.commands:prove", "every place, every subset of living regions"),
    "routing conformance": Command("conformance.run:conform", "the rules relied on, tried in your own hosted zone"),
    "routing map": Command("routing.map:draw", "the region of each user, today and if a region dies"),
    "bench cold-start": Command("bench.cold_start:bench", "each Lambda's imports beside a bare Chalice and boto3"),
    "bench schedules": Command("bench.schedules:bench", "the timetable beside cronsim, croniter and others"),
    "bench tasks": Command("bench.tasks:bench", "a task beside the same one in a bare BatchProcessor"),
    "bench tunnels": Command("bench.tunnels:bench", "probes a second, none blocked; replication gaps"),
    "simulate schedules": Command("develop.simulate_schedules:simulate",
                                  "exactly once, through crashes and lost regions"),
    "simulate tunnels": Command("develop.simulate_tunnels:simulate",
                                "a controller that never does harm, whatever happens"),
    "simulate databases": Command("develop.simulate_databases:simulate",
                                  "promotions that lose no row and make no two primaries"),
    "simulate health-checks": Command("develop.simulate_health_checks:simulate",
                                      "rotation never flips a region's status"),
}


# What a command was called before: in this version it answers with its new name.
RENAMED = {
    "fires": "cron next", "diff": "cron diff", "why": "explain", "routing prove": "routing verify",
    "routing conform": "routing conformance",
}
# Short for the only one of its kind.
SHORT = {"conformance": "routing conformance"}

# What other packages call a mistake of the user.
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
    words = _in_folder(words)
    if not words or words[0] in ("help", "-h", "--help"):
        return _list(COMMANDS)
    if words[0] == "--version":
        print(f"lamplighter {VERSION}")
        return 0
    words = [*SHORT.get(words[0], words[0]).split(), *words[1:]]
    for length in (1, 2):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return _call(name, words[length:])
    family = {name: command for name, command in COMMANDS.items() if name.split()[0] == words[0]}
    if family and words[1:] in ([], ["--help"], ["-h"]):
        return _list(family)
    raise UsageError(_unknown(" ".join(words[:2] if family else words[:1])))


def _in_folder(words: list[str]) -> list[str]:
    """The words after `-C DIR`: from there on, DIR is where the user stands and the fleet that is worked on."""
    while words and words[0] == "-C":
        folder = Path(words[1]) if words[1:] else None
        if folder is None or not folder.is_dir():
            raise UsageError(f"-C {words[1] if folder else ''}: name the folder of a fleet; ./lamp init DIR makes one")
        os.chdir(folder)
        os.environ[roots.VARIABLE] = str(Path.cwd())
        words = words[2:]
    return words


def _unknown(name: str) -> str:
    if name in RENAMED:
        return f"{name!r} is now called {RENAMED[name]!r}: ./lamp {RENAMED[name]}"
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
    function = _function(command.place)
    app.command(context_settings={"help_option_names": ["-h", "--help"]}, help=_plain(function.__doc__))(function)
    built = typer.main.get_command(app)
    for parameter in built.params:
        parameter.help = _plain(getattr(parameter, "help", None))  # type: ignore[attr-defined]
    try:
        built(words, prog_name=roots.spoken(f"./lamp {name}"))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _plain(text: str | None) -> str:
    """A help text as rich shows it unchanged, with one line a paragraph, so that it fits any terminal."""
    from rich.markup import escape

    return escape("\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n")))


def _function(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(f"commands.{module}"), name)
    return function


def _list(commands: dict[str, Command]) -> int:
    from rich.table import Table
    from rich.text import Text

    from commands.terminal import Console

    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="bold yellow", no_wrap=True)
    for name, command in commands.items():
        table.add_row(f"  {name}", command.line)
    console = Console()
    console.print(Text.assemble(("Lamplighter", "bold"), " runs your crontabs and background tasks without a host.\n"))
    console.print(table)
    more = "\n  ./lamp COMMAND --help tells more. ./lamp -C DIR COMMAND works on the fleet in DIR."
    console.print(roots.spoken(more), style="dim")
    return 0


def _mistakes() -> tuple[type[Exception], ...]:
    # One that was raised comes from a module that is loaded; the others need no import.
    loaded = (getattr(sys.modules.get(module), name, None) for module, name in MISTAKES)
    return (UsageError, *filter(None, loaded))


def _complain(text: str) -> int:
    from rich.text import Text

    from chalicelib import foreign
    from commands.terminal import Console

    console = Console(stderr=True)
    for line in foreign.lines(roots.spoken(text), ""):
        console.print(Text.assemble(("error: ", "bold red"), line), soft_wrap=True)
    return 2
