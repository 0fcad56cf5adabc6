"""The real servers that tests talk to are installed where that can be, and named where it cannot."""

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commands.develop import install_servers


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands that would have been run; none of the programs is there but apt-get."""
    words: list[list[str]] = []

    def run(command: list[str], **how: Any) -> SimpleNamespace:
        words.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(install_servers, "_LOCK", tmp_path / "lock")
    monkeypatch.setattr(shutil, "which", lambda name, path="": name if name == "apt-get" else None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return words


def test_root_on_debian_gets_all_of_them(ran: list[list[str]]) -> None:
    install_servers.install()
    assert ran[0][:2] == ["apt-get", "update"] and set(ran[1][6:]) == set(install_servers.PROGRAMS.values())


def test_what_is_there_is_not_installed(ran: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path="": name)
    install_servers.install()
    assert ran == []


def test_others_are_told_what_is_skipped(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    install_servers.install()
    assert ran == [] and "skipped: openssh-server" in capsys.readouterr().err


def test_a_failure_is_told_and_tests_go_on(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *words, **how: SimpleNamespace(returncode=100))
    install_servers.install()
    assert "apt-get update failed" in capsys.readouterr().err
