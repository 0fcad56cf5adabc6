"""`lamp init DIR`, a repository for a fleet of one's own, all of it or nothing."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from chalicelib.config import fleet
from chalicelib.config.declared import LONGEST_NAME, Schedules
from chalicelib.version import VERSION
from commands import roots
from commands.develop import fleet_schema, source
from commands.errors import UsageError
from commands.terminal import Console

_TEMPLATES = Path(__file__).with_name("new_fleet")
# What the new fleet takes over from the example: where it stands there and here.
EXAMPLES = ("cron/reports.py", "cron/crontabs/deploy", "runner-policy.json", "tasks/invoices.py")
# Template -> where it goes.
WRITTEN = {"README.md": "README.md", "gitignore": ".gitignore", "requirements.txt": "requirements.txt",
           "requirements-dev.txt": "requirements-dev.txt",
           "workflows/lamplighter.yml": ".github/workflows/lamplighter.yml"}


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the fleet, made if it is not there.")],
    name: Annotated[str, typer.Option(help="The fleet's name, first part of every name in AWS. By default that of "
                                           "DIR.")] = "",
) -> None:
    """Write a fleet of your own: fleet.toml, cron/, tasks/, a workflow for GitHub Actions, and a README.

    It never overwrites an existing file. If it would, it writes nothing at all.
    """
    files = contents(name or _name(folder))
    write(folder, files)
    console = Console()
    for path in files:
        console.print(f"  {folder / path}", style="dim", soft_wrap=True)
    following = f"cd {folder}; lamp check" if roots.installed() else f"./lamp -C {folder} check"
    console.print(f"\nNext: {following}", soft_wrap=True)


def contents(name: str) -> dict[str, str]:
    """The files of a new fleet, by path. `UsageError` if `name` cannot be one."""
    texts = {target: (_TEMPLATES / template).read_text() for template, target in WRITTEN.items()}
    declared = _declared((roots.PRODUCT / "fleet.toml").read_text(), name)
    try:
        home = fleet.parse(declared).home
    except fleet.FleetError:
        raise UsageError(f"--name {name!r} is wrong. A fleet's name has up to {LONGEST_NAME} small letters, "
                         "digits and hyphens and begins with a letter. Give another") from None
    origin = source.find()
    known = {"{name}": name, "{version}": VERSION, "{home}": home,
             "{python}": f"{sys.version_info.major}.{sys.version_info.minor}",
             "{lamplighter}": origin.requirement, "{lamplighter_note}": source.comment(origin)}
    made = {path: _filled(text, known) for path, text in texts.items()}
    examples = {path: (roots.PRODUCT / path).read_text() for path in EXAMPLES}
    schema = (roots.PRODUCT / fleet_schema.FILE).read_text()
    return dict(sorted({"fleet.toml": declared, fleet_schema.COPY: schema, **made, **examples}.items()))


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Put `files` into `folder`, all or none. `UsageError` if that would overwrite anything.

    An existing file with the same content counts as written, so a killed `lamp init` can be repeated.
    """
    taken = [path for path, text in files.items() if not _free(folder / path, text)]
    if taken:
        raise UsageError("\n".join(f"{folder / path} is there already. Move it away, or name another folder"
                                for path in taken))
    with _undone_on_failure() as made:
        for path in ("", *_folders(files)):
            _make_folder(folder / path, made)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".lamp-init-") as staged:
            for number, (path, text) in enumerate(files.items()):
                _publish(Path(staged) / str(number), folder / path, text, made)


def _publish(staged: Path, target: Path, text: str, made: list[Path]) -> None:
    """A whole file appears at `target`, or none, because a link to a finished file never replaces another file."""
    if target.exists():
        return  # the same content: see `_free`
    staged.write_text(text)
    try:
        os.link(staged, target)
    except FileExistsError:
        raise UsageError(f"{target} came into being just now. Move it away and run this command again") from None
    made.append(target)


def _make_folder(folder: Path, made: list[Path]) -> None:
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir()
        made.append(one)


@contextlib.contextmanager
def _undone_on_failure() -> Iterator[list[Path]]:
    """Collects what was made. If the block fails, or is interrupted, all of that goes again."""
    made: list[Path] = []
    try:
        yield made
    except BaseException as error:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            raise UsageError(f"this user cannot write {error.filename or 'the folder'} ({error.strerror}). Nothing was "
                             "left behind") from None
        raise


def _free(target: Path, text: str) -> bool:
    """Whether `text` may be written to `target`, which is empty or has just that."""
    try:
        return target.read_text() == text
    except FileNotFoundError:
        return not target.is_symlink()
    except (OSError, UnicodeDecodeError):
        return False


def _folders(files: Mapping[str, str]) -> list[str]:
    return sorted({str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."})


def _name(folder: Path) -> str:
    """A fleet's name out of that of its folder, as far as one can be made of it."""
    return re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")


def _declared(example: str, name: str) -> str:
    """The example's fleet.toml with a name and a schema of its own, and the zone that most servers have."""
    text = re.sub(r"^#:schema .*\n", "", example, flags=re.M)
    named = re.sub(r"^name = .*$", lambda _: f'name = "{name}"', text, count=1, flags=re.M)
    named = re.sub(r"^timezone = .*$", f'timezone = "{Schedules().timezone}"', named, count=1, flags=re.M)
    return f"#:schema ./{fleet_schema.COPY}\n{named}"


def _filled(text: str, known: Mapping[str, str]) -> str:
    # Not str.format: GitHub's own expressions have braces, too.
    for placeholder, value in known.items():
        text = text.replace(placeholder, value)
    return text
