"""Groups of requirements: fetched when first needed, and only into the checkout's own .venv."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import roots
from commands.develop import groups
from commands.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of requirements of the test's own."""
    monkeypatch.setattr(groups, "_FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was started in place of pip."""
    called: list[list[str]] = []

    def run(words: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        called.append(words)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return called


def test_installed_group_is_left_alone(folder: Path, pip: list[list[str]]) -> None:
    (folder / "tools.in").write_text("# Why.\npytest==" + pytest.__version__ + "\n")
    groups.need("tools")
    assert pip == []


@pytest.mark.parametrize("line", ["pytest==0.0.1", "no-such-package-here==1"])
def test_missing_or_other_version_is_lacking(folder: Path, line: str) -> None:
    (folder / "tools.in").write_text(f"{line}\n")
    (folder / "more.in").write_text("# Why.\n-r tools.in\n")
    assert groups.lacking("more") == [line]


def test_package_for_another_system_is_not_lacking(folder: Path) -> None:
    (folder / "tools.in").write_text('no-such-package-here==1; sys_platform == "plan9"\n')
    assert groups.lacking("tools") == []


def test_missing_group_is_fetched_into_the_own_environment_with_hashes(
    folder: Path, pip: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (folder / "tools.in").write_text("no-such-package-here==1\n")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(roots, "PRODUCT", tmp_path)
    groups.need("tools")
    assert pip[0][1:4] == ["-m", "pip", "install"]
    # The lock names every package, and a module is compiled when it is first imported.
    assert {"--no-deps", "--no-compile", "--no-input"} <= set(pip[0])
    assert pip[0][-3:] == ["--require-hashes", "-r", str(folder / "tools.txt")]


def test_missing_group_is_not_fetched_into_another_environment(
    folder: Path, pip: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (folder / "map.in").write_text("no-such-package-here==1\n")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match=r"needs no-such-package-here==1\..*: pip install 'lamplighter\[map\]'"):
        groups.need("map")
    assert pip == []


def test_every_group_that_is_here_names_packages() -> None:
    names = sorted(path.stem for path in (roots.PRODUCT / "requirements").glob("*.in"))
    assert names == ["audit", "bench", "check", "fuzz", "lambda", "lamp", "map", "test"]
    assert all(list(groups.named(name)) for name in names)
