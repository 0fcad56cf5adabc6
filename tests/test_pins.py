"""Every package that is installed has its version written down, those that others bring along included."""

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILES = ("requirements.txt", "requirements-dev.txt", "requirements-bench.txt", "constraints.txt")


def lines(file: str) -> list[str]:
    """What `file` asks for, without comments and options."""
    text = [line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return [line for line in text if line and not line.startswith("-")]


def pins(file: str) -> dict[str, str]:
    """The versions that `file` names, by package."""
    found = [Requirement(line) for line in lines(file)]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in found}


def brought_by(package: str, seen: set[str]) -> Iterator[str]:
    """`package` and all that it needs here, as far as it is installed."""
    try:
        needs = [Requirement(need) for need in importlib.metadata.requires(package) or ()]
    except importlib.metadata.PackageNotFoundError:
        return
    seen.add(package)
    yield package
    for need in needs:
        name = canonicalize_name(need.name)
        if name not in seen and (need.marker is None or need.marker.evaluate({"extra": ""})):
            yield from brought_by(name, seen)


@pytest.mark.parametrize("file", FILES)
def test_each_line_names_one_version(file: str) -> None:
    assert [line for line in lines(file) if not re.fullmatch(r"[\w.-]+==[\w.]+(;.*)?", line)] == []


@pytest.mark.parametrize("file", FILES[:3])
def test_the_files_agree(file: str) -> None:
    all_of_them = pins("constraints.txt")
    assert {name: version for name, version in pins(file).items() if all_of_them.get(name) != version} == {}


@pytest.mark.parametrize("file", FILES[1:3])
def test_constraints_hold_when_it_is_installed(file: str) -> None:
    assert "\n-c constraints.txt\n" in (ROOT / file).read_text()


@pytest.mark.parametrize(("file", "pinned"), [("requirements.txt", "requirements.txt"), *(
    (file, "constraints.txt") for file in FILES[1:3])])
def test_what_packages_bring_along_is_pinned_too(file: str, pinned: str) -> None:
    found = {name for package in pins(file) for name in brought_by(package, set())}
    assert sorted(found - pins(pinned).keys()) == []
    assert len(found) >= len(pins("requirements.txt")) or file == "requirements-bench.txt"
