"""`lamp cron lint`, the errors and surprises in crontabs, cron.yaml and Python files of jobs."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from chalicelib.config import fleet
from chalicelib.crontab import diagnostics, loader
from chalicelib.crontab.diagnostics import Diagnostic
from commands import roots
from commands.cron import fix
from commands.cron import next as next_
from commands.errors import UsageError
from commands.terminal import write as say
from commands.terminal import write_json


def lint(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files, or folders as cron/ is, which is the "
                                                            "default.")] = None,
    write: Annotated[bool, typer.Option("--fix", help="First write the `# lamp:` comments that lines need to "
                                                      "run: on=, overlap=, timeout=. Nothing else changes.")] = False,
    on: Annotated[str, typer.Option(help="With --fix, where lines run that a Lambda cannot run: ssm or ecs. By "
                                         "default the one that fleet.toml declares.", metavar="TARGET")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Everything that is wrong or odd, at file:line:column. Status 1 if any of it would be refused.

    A folder is read as a whole with the fleet's settings, so that names that stand twice are found, too. A single file
    is read by itself, as Debian's cron would.
    """
    places = paths or [Path(os.path.relpath(roots.fleet() / "cron"))]
    if on not in ("", "ssm", "ecs") or (on and not write):
        raise UsageError(f"--on {on!r}: write --fix --on ssm for your server, or --fix --on ecs for a container")
    for path in places if write else ():
        _fix(path, on)
    found = [finding for path in places for finding in _findings(path)]
    if as_json:
        write_json(msgspec.to_builtins(found))
    else:
        for line in diagnostics.render(found):
            say(line)
        say(_count(found), to_stderr=True)
    raise typer.Exit(int(bool(diagnostics.errors(found))))


def _fix(path: Path, on: str) -> None:
    """Writes the comments into the crontabs of `path`, and tells of each file on stderr."""
    try:
        if path.is_dir():
            whole = fleet.load(roots.fleet_of(path))
            schedules, jobs = whole.schedules, loader.load(path, whole).jobs
        else:
            schedules = next_.declared(path)
            jobs = list(next_.read(path, schedules)[0])
        for name in sorted({job.file for job in jobs if job.kind == "crontab"}):
            file = path / name if path.is_dir() else path
            its = [job for job in jobs if job.file == name]
            fixed = fix.apply(file.read_bytes(), its, on or fix.host(schedules))
            if fixed.written:
                file.write_bytes(fixed.data)
                lines = ", ".join(str(line) for line, _ in fixed.written)
                say(f"{file}: wrote a comment above what was line {lines}", to_stderr=True)
    except OSError as error:
        raise UsageError(f"cannot write the comments to {path} ({error.strerror}). See to its rights") from None


def _findings(path: Path) -> Iterator[Diagnostic]:
    try:
        if path.is_dir():
            found: Sequence[Diagnostic] = loader.load(path, fleet.load(roots.fleet_of(path))).findings
        else:
            jobs, wrong = next_.read(path, next_.declared(path))
            found = sorted([*wrong, *loader.lacking(jobs)])
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}). Name a crontab, a cron.yaml, a .py file, or a "
                         "folder of them") from None
    # Within a folder a finding names its file as that folder knows it.
    yield from (msgspec.structs.replace(one, file=str(path / one.file)) if path.is_dir() else one for one in found)


def _count(found: Sequence[Diagnostic]) -> str:
    errors = len(diagnostics.errors(found))
    return f"{errors} {'error' if errors == 1 else 'errors'}, {len(found) - errors} other findings"
