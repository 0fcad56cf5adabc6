"""Packages unpacked for the machine that runs them. Fetched once, kept in `.build/wheels` of the fleet."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from commands.errors import UsageError

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# glibc of the Lambda runtimes: Amazon Linux 2 up to Python 3.11, Amazon Linux 2023 from 3.12.
_NEWEST_GLIBC = 26 if sys.version_info < (3, 12) else 34


class Machine(msgspec.Struct, frozen=True):
    """The platform of the compiled packages, as pip's platform tags, or none of them for this very machine."""

    name: str
    tags: tuple[str, ...]


class Fetched(msgspec.Struct, frozen=True, order=True):
    """A package that pip has fetched. `sha256` are the digests (hex) of its file, several where that one is unknown."""

    name: str
    version: str
    sha256: tuple[str, ...]


LAMBDA = Machine("lambda-x86_64", (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(_NEWEST_GLIBC, 16, -1)), "manylinux2014_x86_64"))


def here() -> Machine:
    """The sandbox's packages, which are the Lambda's own where they run, and this machine's elsewhere (macOS, ARM)."""
    if (platform.system(), platform.machine()) == ("Linux", "x86_64") and platform.libc_ver()[0] == "glibc":
        return LAMBDA
    return Machine(f"{platform.system()}-{platform.machine()}".lower(), ())


def versions(requirements: Path) -> list[str]:
    """The lines of a file of requirements that name packages, without hashes."""
    lines = [line.split(" #")[0].split(" \\")[0].strip() for line in requirements.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "--hash"))]


def requirements_of(file: Path) -> Iterator[tuple[str, bool]]:
    """Each requirement in `file`, as `file:line: text`, and whether it has a hash. Files that it includes go along."""
    number, first, whole = 0, 0, ""
    for number, line in enumerate([*file.read_text().splitlines(), ""], 1):
        first = first if whole else number
        whole += line.removesuffix("\\").rstrip() + " "
        if line.endswith("\\"):
            continue
        text, whole = whole.split(" #")[0].strip(), ""
        words = text.split()
        if words and words[0] in ("-r", "--requirement") and len(words) > 1 and (file.parent / words[1]).is_file():
            yield from requirements_of(file.parent / words[1])
        elif text and not text.startswith("#") and (not text.startswith("-") or words[0] in ("-e", "--editable")):
            yield f"{file.name}:{first}: {text.partition(' --hash')[0]}", "--hash=" in text


def hashed(requirements: Path) -> bool:
    """Whether every requirement has a hash, so that pip takes nothing else. `UsageError` if only some have one."""
    known = list(requirements_of(requirements))
    bare = [text for text, has in known if not has]
    if bare and len(bare) < len(known):
        mixed = "these requirements have no hash, though others have one, and pip wants all or none"
        raise UsageError("\n".join([*bare, f"{mixed}. {REMEDY}"]))
    return bool(known) and not bare


REMEDY = ("Name the packages in requirements.in, and let uv write the rest, with each package that they need: uv pip "
          "compile --generate-hashes --universal requirements.in -o requirements.txt")


def fetched(site: Path) -> list[Fetched]:
    """What pip fetched for a folder of `site`."""
    return msgspec.json.decode(_report(site).read_bytes(), type=list[Fetched])


def _report(site: Path) -> Path:
    return site.parent / f"{site.name}.json"


def site(requirements: Path, machine: Machine, cache: Path, *, beside: Path | None = None) -> Path:
    """A folder with the packages of `requirements` for `machine`, ready to be zipped.

    A package that `beside` names as well has the version from there. If all have hashes, pip takes no other file.
    """
    by_hash = hashed(requirements)
    fixed = "\n".join(versions(beside)) if beside else ""
    key = hashlib.sha256(f"{PYTHON}\0{machine}\0{fixed}\0told\0".encode() + requirements.read_bytes()).hexdigest()[:16]
    folder = cache / f"{machine.name}-{key}"
    if not folder.is_dir() or not _report(folder).is_file():
        cache.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(dir=cache))
        try:
            told = _install(requirements, machine, half, fixed, ["--require-hashes"] if by_hash else [])
            half.chmod(0o755)
            said = half.with_suffix(".half")
            said.write_bytes(msgspec.json.encode(told))
            said.replace(_report(folder))
            half.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another packaging was faster
                raise
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return folder


def _install(requirements: Path, machine: Machine, target: Path, fixed: str, more: list[str]) -> list[Fetched]:
    with tempfile.TemporaryDirectory() as scratch:
        report, constraints = Path(scratch) / "report.json", Path(scratch) / "constraints.txt"
        constraints.write_text(fixed)
        words = ["--constraint", str(constraints)] if fixed else []
        _pip(requirements, machine, target, [*words, *more, "--report", str(report)])
        # The shape is pip's "Installation Report", version 1.
        return sorted(Fetched(one["metadata"]["name"], one["metadata"]["version"],
                              (one["download_info"]["archive_info"]["hashes"]["sha256"],))
                      for one in json.loads(report.read_text())["install"])


def _pip(requirements: Path, machine: Machine, target: Path, more: list[str]) -> None:
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
             "--no-compile", "--only-binary", ":all:", "--target", str(target), "-r", str(requirements), *more]
    for tag in machine.tags:
        words += ["--platform", tag]
    if machine.tags:
        words += ["--implementation", "cp", "--python-version", PYTHON]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise UsageError(f"pip could not fetch the packages of {requirements} for {machine.name} "
                         f"({' '.join(last[-2:])}). Is the package index reachable?")
