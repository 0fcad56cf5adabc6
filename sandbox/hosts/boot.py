"""An instance of the sandbox as a tunnel host. It lays out the files of its user data, and becomes one of its units.

    python -m sandbox.hosts.boot lamplighter-tunnel KEYRING

It runs the same as a real host, which are the files, settings and command lines of the user data. In its place in the
instance's folder instead of at /, on the instance's address instead of all, and without what systemd does around it.
KEYRING is a folder with `bin/`, programs that stand in for ones that are not here.
"""

import base64
import fcntl
import hashlib
import io
import os
import re
import shlex
import signal
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent.parent
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class BootError(Exception):
    """The user data is not that of a tunnel host. The text says what is missing."""


class Unit(msgspec.Struct, frozen=True):
    """The relevant parts of a unit, with its prerequisites, its command, and whether it counts as running afterwards.
    """

    before: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    remains: bool


def settings(user_data: str, address: str) -> dict[str, str]:
    """The host's settings, for a host that has `address` alone of all this machine's."""
    lines = _part(user_data, "SETTINGS").splitlines()
    return dict(line.split("=", 1) for line in lines) | {"LISTEN": address, "PROBE": address}


def ways(user_data: str) -> dict[str, str]:
    """The settings that lead to other primaries, by their file's name."""
    return dict(re.findall(r"(?ms)^cat >/etc/lamplighter/ways/(\S+) <<'WAY'\n(.*?^)WAY$", user_data))


def unpack(user_data: str, root: Path) -> None:
    """The host's files below `root`."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(_part(user_data, "FILES"))), mode="r:gz") as archive:
        archive.extractall(root, filter="data")


def unit(text: str, environment: Mapping[str, str], root: Path) -> Unit:
    """A unit's command lines with the environment's values and this instance's paths in them."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#"):
            found.setdefault(key, []).append(value)
    if len(found.get("ExecStart", ())) != 1:
        raise BootError("a unit has one ExecStart")
    before = tuple(_words(line, environment, root) for line in found.get("ExecStartPre", ()))
    return Unit(before, _words(found["ExecStart"][0], environment, root), found.get("RemainAfterExit") == ["yes"])


def _part(user_data: str, name: str) -> str:
    found = re.search(rf"<<'{name}'.*?\n(.*?)\n{name}\n", user_data, re.DOTALL)
    if found is None:
        raise BootError(f"the user data has no part {name}, so it is not that of a tunnel host")
    return found[1]


def _words(line: str, environment: Mapping[str, str], root: Path) -> tuple[str, ...]:
    """Systemd splits a line into words first and then fills in values, so a value never becomes several words."""
    filled = [_VARIABLE.sub(lambda match: environment.get(match[1], ""), word) for word in shlex.split(line)]
    return _program(filled[0]), *(_path(word, root) for word in filled[1:])


def _program(path: str) -> str:
    # By its name: found among the instance's own programs first, then on this machine.
    return sys.executable if path == "/usr/bin/python3" else Path(path).name


def _path(word: str, root: Path) -> str:
    if word.startswith("/var/cache/lamplighter/"):
        return str(root.parent / "cache" / Path(word).name)
    return str(root / word[1:]) if word.startswith(("/usr/local/", "/etc/lamplighter/")) else word


def environment(folder: Path, keyring: Path, values: Mapping[str, str]) -> dict[str, str]:
    """The environment of a unit's processes."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    root = folder / "root"
    return {**own, **values} | {
        "PATH": f"{keyring / 'bin'}{os.pathsep}{own['PATH']}", "RUNTIME_DIRECTORY": str(folder / "run"),
        "CACHE_DIRECTORY": str(folder / "cache"),
        "LAMPLIGHTER_SETTINGS": str(folder / "tunnel.env"),
        "LAMPLIGHTER_LIB": str(root / "usr/local/lib/lamplighter"),
        "LAMPLIGHTER_SSH_CONFIG": str(root / "etc/lamplighter/ssh_config")}


def lay(folder: Path, keyring: Path, user_data: str, address: str) -> dict[str, str]:
    """The host's files, settings and programs in its folder. The environment of its units. Safe to do again.

    All units begin at once, and again and again. Only the first one writes, for the others run its files.
    """
    values = settings(user_data, address)
    around = environment(folder, keyring, values)
    (folder / "run").mkdir(mode=0o700, exist_ok=True)
    (folder / "cache").mkdir(exist_ok=True)
    wanted = hashlib.sha256(f"{address}\n{keyring}\n{user_data}".encode()).hexdigest()
    with (folder / "laid").open("a+") as laid:
        fcntl.flock(laid, fcntl.LOCK_EX)
        laid.seek(0)
        if laid.read() != wanted:
            unpack(user_data, folder / "root")
            (folder / "ways").mkdir(exist_ok=True)
            for name, text in ways(user_data).items():
                (folder / "ways" / name).write_text(text)
            (folder / "tunnel.env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
            _wrap(folder / "shims/lamplighter-keys", folder / "root/usr/local/bin/lamplighter-keys", around)
            laid.truncate(0)
            laid.write(wanted)
    return around


def _wrap(shim: Path, program: Path, around: Mapping[str, str]) -> None:
    """A program for commands from outside, which begin with nothing of a unit's environment."""
    kept = {name: around[name] for name in (
        "PATH", "RUNTIME_DIRECTORY", "LAMPLIGHTER_SETTINGS", "LAMPLIGHTER_LIB", "LAMPLIGHTER_SSH_CONFIG")}
    lines = ["#!/bin/sh", *(f"export {name}={shlex.quote(value)}" for name, value in kept.items()),
             f'exec {shlex.quote(sys.executable)} -I {shlex.quote(str(program))} "$@"', ""]
    half = shim.with_suffix(".half")
    half.write_text("\n".join(lines))
    half.chmod(0o755)
    half.replace(shim)


def main(name: str, keyring: str) -> None:
    """Become the unit `name` of this instance."""
    folder = Path.cwd()
    around = lay(folder, Path(keyring), Path(os.environ["USER_DATA"]).read_text(), os.environ["ADDRESS"])
    text = (folder / f"root/etc/systemd/system/{name}.service").read_text()
    if "EnvironmentFile=-/run/lamplighter/way.env\n" in text and (way := folder / "run" / "way.env").exists():
        around |= dict(line.split("=", 1) for line in way.read_text().splitlines())
    found = unit(text, around, folder / "root")
    for words in (*found.before, *((found.words,) if found.remains else ())):
        status = os.spawnvpe(os.P_WAIT, words[0], words, around)  # noqa: S606 - the unit's own words
        if status:
            sys.exit(status)
    if found.remains:
        signal.pause()  # a unit that has done its work, and is active
    os.execvpe(found.words[0], found.words, around)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
