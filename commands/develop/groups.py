"""Groups of requirements that only some commands need, installed at the first use of such a command.

requirements/<group>.in names what a group is for, requirements/<group>.txt each package with its version and hashes.
"""

import importlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from commands import roots
from commands.errors import UsageError
from commands.exclusive import exclusive
from commands.terminal import write

_FOLDER = roots.PRODUCT / "requirements"


def need(*groups: str) -> None:
    """See to it that `groups` are installed as pinned. `UsageError` says how to get what cannot be fetched.

    Only the `.venv` of a checkout changes, because that is this program's own.
    """
    if not (missing := [group for group in groups if lacking(group)]):
        return
    if roots.installed() or not _own_environment():
        extras = ",".join(missing)
        names = ", ".join(name for group in missing for name in lacking(group))
        raise UsageError(
            f"this command also needs {names}. Install it beside lamp: pip install 'lamplighter[{extras}]'")
    with exclusive(roots.PRODUCT / ".venv.lock", "installing packages into .venv"):
        importlib.invalidate_caches()
        # Another command may have brought them meanwhile.
        if missing := [group for group in groups if lacking(group)]:
            _fetch(missing)


def _fetch(missing: list[str]) -> None:
    write(f"lamp: fetching what this command needs, once: {', '.join(missing)}", to_stderr=True)
    files = [word for group in missing for word in ("-r", str(_FOLDER / f"{group}.txt"))]
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
             "--no-compile", "--no-deps", "--require-hashes", *files]
    if subprocess.run(words, check=False).returncode:
        raise UsageError(f"pip could not fetch {', '.join(missing)} (see above). Is the package index reachable?")
    importlib.invalidate_caches()


def lacking(group: str) -> list[str]:
    """The packages of a group that are not installed in that version."""
    return [str(one) for one in named(group) if (one.marker is None or one.marker.evaluate())
            and _version(one.name) not in [pin.version for pin in one.specifier]]


def named(group: str) -> Iterator[Requirement]:
    """The packages that a group asks for, those of the groups that it includes among them."""
    for line in (_FOLDER / f"{group}.in").read_text().splitlines():
        if line.startswith("-r "):
            yield from named(line[3:].strip().removesuffix(".in"))
        elif line and not line.startswith("#"):
            yield Requirement(line)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _own_environment() -> bool:
    return (roots.PRODUCT / ".venv").resolve() == Path(sys.prefix).resolve()
