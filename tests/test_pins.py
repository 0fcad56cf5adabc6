"""Every package that is installed has its version and hashes written down, those that others bring along included."""

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from commands.develop import groups

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
GROUPS = sorted(path.stem for path in FOLDER.glob("*.in"))
_ENTRY = re.compile(r"^(\S+==\S+(?: ; [^\\]+)?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M)


def locked(group: str) -> dict[str, str]:
    """The versions of a group's lock, by package."""
    found = [Requirement(line.strip()) for line, _ in _ENTRY.findall((FOLDER / f"{group}.txt").read_text())]
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


@pytest.mark.parametrize("group", GROUPS)
def test_lock_holds_nothing_but_versions_with_hashes(group: str) -> None:
    text = (FOLDER / f"{group}.txt").read_text()
    assert _ENTRY.sub("", text).strip() == "" and locked(group)


@pytest.mark.parametrize("group", GROUPS)
def test_lock_has_what_the_group_names_in_that_version(group: str) -> None:
    named = {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in groups.named(group)}
    assert {name: version for name, version in named.items() if locked(group).get(name) != version} == {}


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_lock_has_what_packages_bring_along(group: str) -> None:
    found = {name for one in groups.named(group) for name in brought_by(canonicalize_name(one.name), set())}
    assert sorted(found - locked(group).keys()) == []


def test_no_package_has_two_versions() -> None:
    versions: dict[str, set[str]] = {}
    for group in GROUPS:
        for name, version in locked(group).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("file", ["lamp", "commands/develop/groups.py"])
def test_pip_is_told_to_want_hashes(file: str) -> None:
    assert "--require-hashes" in (ROOT / file).read_text()
