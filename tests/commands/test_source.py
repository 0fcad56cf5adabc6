"""The place that a new fleet installs Lamplighter from: it exists, and holds no secret."""

import importlib.metadata
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pip._vendor.packaging.requirements import Requirement

from commands.develop import source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "a b"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return folder


def test_a_checkout_without_a_remote_is_its_own_source(checkout: Path) -> None:
    found = source.of_checkout(checkout)
    assert found.requirement == f"git+{checkout.as_uri()}@{git(checkout, 'rev-parse', 'HEAD')}"
    assert "Only this machine has it" in found.note
    path = found.requirement.partition("git+")[2].rpartition("@")[0]
    assert subprocess.run(["git", "ls-remote", path], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("remote", "written"), [
    ("https://git.example.com/acme/lamplighter.git", "https://git.example.com/acme/lamplighter.git"),
    ("https://ann:token@git.example.com/l.git", "https://git.example.com/l.git"),
    ("git@git.example.com:acme/lamplighter.git", "ssh://git@git.example.com/acme/lamplighter.git"),
    ("ssh://git@git.example.com:2222/l.git", "ssh://git@git.example.com:2222/l.git"),
])
def test_a_pushed_commit_is_taken_from_its_remote_without_a_secret(checkout: Path, remote: str, written: str) -> None:
    git(checkout, "remote", "add", "upstream", remote)
    before = source.of_checkout(checkout)
    assert before.requirement.startswith("git+file:"), "no remote has the commit yet"
    git(checkout, "update-ref", "refs/remotes/upstream/main", "HEAD")
    found = source.of_checkout(checkout)
    assert found.requirement == f"lamplighter @ git+{written}@{git(checkout, 'rev-parse', 'HEAD')}"
    assert "Only this machine" not in found.note and Requirement(found.requirement).url


def test_a_remote_that_is_a_folder_is_not_for_other_machines(checkout: Path) -> None:
    git(checkout, "remote", "add", "origin", str(checkout))
    git(checkout, "update-ref", "refs/remotes/origin/main", "HEAD")
    assert "Only this machine has it" in source.of_checkout(checkout).note


def test_a_folder_of_a_larger_repository_is_named(checkout: Path) -> None:
    (checkout / "tools" / "lamp").mkdir(parents=True)
    assert source.of_checkout(checkout / "tools" / "lamp").requirement.endswith("#subdirectory=tools/lamp")


def test_a_folder_without_git_is_its_own_source(tmp_path: Path) -> None:
    assert source.of_checkout(tmp_path).requirement == f"lamplighter @ {tmp_path.as_uri()}"


@pytest.mark.parametrize(("noted", "requirement", "note"), [
    ({"url": "https://ann:token@git.example.com/l.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
     f"lamplighter @ git+https://git.example.com/l.git@{COMMIT}", "A git server has it"),
    ({"url": "file:///srv/l.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}, "subdirectory": "x"},
     f"git+file:///srv/l.git@{COMMIT}#subdirectory=x", "Only this machine"),
    ({"url": "https://example.com/l.whl", "archive_info": {"hashes": {"sha256": "ab"}}},
     "lamplighter @ https://example.com/l.whl#sha256=ab", "A wheel at a URL"),
    ({"url": "file:///srv/l.whl", "archive_info": {}}, "lamplighter @ file:///srv/l.whl", "Only this machine"),
    (None, "lamplighter==9.9", "--index-url"),
])
def test_an_installed_wheel_is_taken_from_where_pip_took_it(
    tmp_path: Path, noted: dict[str, Any] | None, requirement: str, note: str
) -> None:
    (tmp_path / "METADATA").write_text("Metadata-Version: 2.1\nName: lamplighter\nVersion: 9.9\n")
    if noted:
        (tmp_path / "direct_url.json").write_text(json.dumps(noted))
    found = source.of_installed(importlib.metadata.PathDistribution(tmp_path))
    assert found.requirement == requirement and note in found.note
    assert all(line.startswith("# ") for line in source.comment(found).splitlines())
