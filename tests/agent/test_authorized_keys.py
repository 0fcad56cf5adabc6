"""The gateway's script: which keys it lets in, with what they may do, and that a bad answer locks nobody out."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from chalicelib.tunnels.keys.openssh import Key

SCRIPT = Path(__file__).resolve().parent.parent.parent / "agent" / "lamplighter-authorized-keys"
ONE, TWO = (Key(bytes([number] * 32), f"{number:08}-0000-0000-0000-000000000000").line() for number in (1, 2))
MAY = 'restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="db:3306" '


def run(folder: Path, answer: str, status: int = 0, permit: str = "db:3306") -> subprocess.CompletedProcess[str]:
    """One run, with parameters that the AWS CLI prints as `answer`."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "aws"
    program.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(answer)}\nexit {status}\n")
    program.chmod(0o755)
    return subprocess.run(["sh", SCRIPT], capture_output=True, text=True, env={
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "REGION": "us-east-1", "PUBLIC_KEYS": "/k",
        "PERMIT": permit, "FILE": str(folder / "keys")})


@pytest.mark.parametrize("between", ["\t", "\n", "\t\n"])
def test_each_key_may_open_a_way_to_the_database_and_nothing_else(tmp_path: Path, between: str) -> None:
    assert run(tmp_path, f"{ONE}{between}{TWO}\n").returncode == 0
    assert (tmp_path / "keys").read_text().splitlines() == sorted([MAY + ONE, MAY + TWO])
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o644


def test_two_databases_are_two_permissions(tmp_path: Path) -> None:
    run(tmp_path, ONE, permit="db:3306 replica:3307")
    assert 'permitopen="db:3306",permitopen="replica:3307" ssh-ed25519' in (tmp_path / "keys").read_text()


@pytest.mark.parametrize("line", [
    f'command="/bin/sh" {ONE}', f"{ONE} \nssh-rsa AAAA x", "# no key", f"ssh-rsa {ONE[12:]}", f"{ONE} more", f" {ONE}"])
def test_what_is_no_bare_key_of_ours_is_left_out(tmp_path: Path, line: str) -> None:
    assert run(tmp_path, f"{TWO}\n{line}").returncode == 0
    assert (tmp_path / "keys").read_text() == f"{MAY}{TWO}\n"


@pytest.mark.parametrize(("answer", "status"), [("", 0), ("# no key", 0), ("None", 0), (ONE, 254), ("rubbish\n", 0)])
def test_an_answer_without_a_key_changes_nothing(tmp_path: Path, answer: str, status: int) -> None:
    run(tmp_path, TWO)
    done = run(tmp_path, answer, status)
    assert done.returncode != 0
    assert (tmp_path / "keys").read_text() == f"{MAY}{TWO}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "keys"]
