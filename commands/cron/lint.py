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
from commands.cron import next as next_
from commands.errors import UsageError


def lint(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files, or folders as cron/ is, which is the "
                                                            "default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Everything that is wrong or odd, at file:line:column. Status 1 if any of it would be refused.

    A folder is read as a whole with the fleet's settings, so that names that stand twice are found, too. A single file
    is read by itself, as Debian's cron would.
    """
    places = paths or [Path(os.path.relpath(roots.fleet() / "cron"))]
    found = [finding for path in places for finding in _findings(path)]
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        for line in diagnostics.render(found):
            typer.echo(line)
        typer.echo(_count(found), err=True)
    raise typer.Exit(int(bool(diagnostics.errors(found))))


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
