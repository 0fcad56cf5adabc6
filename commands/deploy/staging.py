"""The files that go into a package, looked at before they do: each of them lies in the project, links followed.

Chalice follows links. A link in cron/ or tasks/ to a file outside of the project would carry that file into the
package, such as a key of the person who deploys. The repository does not show it, and each machine has another one.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from chalicelib.config.fleet import FleetError
from commands.errors import UsageError


def check(project: Path, homes: Sequence[Path]) -> None:
    """`UsageError` with each file and folder below `project` that lies, links followed, in none of `homes`."""
    if wrong := list(strays(project, [Path(os.path.realpath(home)) for home in homes])):
        raise UsageError("\n".join(wrong))


def project_file(root: Path, key: str, name: str, remedy: str) -> Path:
    """The file `name` that `key` of fleet.toml names. `FleetError` with the remedy if the project has no such file."""
    path = root / name
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise FleetError(f"fleet.toml: {key}: {name!r} is no file of this project. {remedy}")
    return path


def strays(folder: Path, homes: Sequence[Path]) -> Iterator[str]:
    """The message for each link that leads out of `homes`, leads nowhere, or leads round in a circle."""
    yield from _walk(folder, folder, homes, (os.path.realpath(folder),))


def _walk(folder: Path, top: Path, homes: Sequence[Path], above: tuple[str, ...]) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        path, real = Path(entry.path), os.path.realpath(entry.path)
        shown = path.relative_to(top).as_posix().removeprefix("vendor/")
        if entry.is_symlink() and not any(Path(real).is_relative_to(home) for home in homes):
            yield f"{shown} is a link that leads out of the project. Put the file itself there"
        elif entry.is_symlink() and not os.path.exists(real):  # noqa: PTH110 - of the text that realpath gives
            yield f"{shown} is a link that leads nowhere. Remove it, or put the file itself there"
        elif os.path.isdir(real):  # noqa: PTH112
            if real in above:
                yield f"{shown} is a link to a folder around it, without an end. Remove it"
            else:
                yield from _walk(path, top, homes, (*above, real))
