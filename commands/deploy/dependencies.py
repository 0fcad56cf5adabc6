"""Packages unpacked for the machine that runs them. Fetched once, kept in `.build/wheels` of the fleet."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
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


def site(requirements: Path, machine: Machine, cache: Path, *, beside: Path | None = None) -> Path:
    """A folder with the packages of `requirements` for `machine`, ready to be zipped.

    A package that `beside` names as well has the version from there.
    """
    fixed = "\n".join(versions(beside)) if beside else ""
    key = hashlib.sha256(f"{PYTHON}\0{machine}\0{fixed}\0".encode() + requirements.read_bytes()).hexdigest()[:16]
    folder = cache / f"{machine.name}-{key}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(dir=cache))
        try:
            _install(requirements, machine, half, fixed)
            half.chmod(0o755)
            half.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another packaging was faster
                raise
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return folder


def _install(requirements: Path, machine: Machine, target: Path, fixed: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write(fixed)
        constraints.flush()
        _pip(requirements, machine, target, ["--constraint", constraints.name] if fixed else [])


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
