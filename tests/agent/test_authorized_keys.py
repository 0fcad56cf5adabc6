"""The gateway's script: which keys it lets in, with what they may do, and that a bad answer locks nobody out."""

import os
import shlex
import shutil
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
    done = run(tmp_path, f"{ONE}{between}{TWO}\n")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'keys'} lets 2 keys in\n")
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


@pytest.mark.parametrize("end", [1, 11, 12, 40, 80, 81, 90, len(TWO) - 1])
def test_a_list_that_is_cut_off_changes_nothing(tmp_path: Path, end: int) -> None:
    run(tmp_path, f"{ONE}\t{TWO}")
    done = run(tmp_path, f"{ONE}\t{TWO[:end]}")
    assert done.returncode == 1 and "is cut off" in done.stderr
    assert (tmp_path / "keys").read_text().splitlines() == sorted([MAY + ONE, MAY + TWO])


def test_a_key_that_openssh_does_not_read_changes_nothing(tmp_path: Path) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("needs ssh-keygen; apt-get install openssh-client")
    run(tmp_path, TWO)
    words = ONE.split()
    done = run(tmp_path, f"{TWO}\t{words[0]} {words[1][::-1]} {words[2]}")
    assert done.returncode == 1 and "OpenSSH does not read all 2 keys" in done.stderr
    assert (tmp_path / "keys").read_text() == f"{MAY}{TWO}\n"


def test_a_list_that_is_the_same_is_written_to_no_file_and_told_no_more(tmp_path: Path) -> None:
    run(tmp_path, TWO)
    before = (tmp_path / "keys").stat()
    done = run(tmp_path, TWO)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "keys").stat().st_ino == before.st_ino


MANY = "\t".join(Key(bytes([number] * 32), f"{number:08}-0000-0000-0000-000000000000").line()
                 for number in range(1, 41))


@pytest.mark.parametrize("pages", [1, 2])
def test_a_full_disk_leaves_the_whole_former_list_and_says_so(tmp_path: Path, pages: int) -> None:
    """Forty keys need three pages. Beside the former list the disk has room for none of them, or for one."""
    made = f'mount -t tmpfs -o size={pages * os.sysconf("SC_PAGESIZE")} none "$1" && shift && exec "$@"'
    (disk := tmp_path / "disk").mkdir()
    inside = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else ()), "sh", "-c", made, "sh", disk]
    if subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    answers = {name: tmp_path / name for name in ("first", "second")}
    for folder, answer in zip(answers.values(), (TWO, MANY), strict=True):
        folder.mkdir()
        (folder / "aws").write_text(f"#!/bin/sh\nprintf %s {shlex.quote(answer)}\n")
        (folder / "aws").chmod(0o755)
    steps = [f'PATH={shlex.quote(str(folder))}:"$PATH" sh {shlex.quote(str(SCRIPT))} >&2; echo $?'
             for folder in answers.values()]
    done = subprocess.run([*inside, "sh", "-c", "; ".join([*steps, f"cat {disk}/keys; ls {disk}"])],
                          capture_output=True, text=True, env={
                              "PATH": os.environ["PATH"], "REGION": "us-east-1", "PUBLIC_KEYS": "/k",
                              "PERMIT": "db:3306", "FILE": str(disk / "keys")})
    assert done.stdout.splitlines() == ["0", "1", MAY + TWO, "keys"], done.stderr
    assert "keys is left as it is" in done.stderr and "lets 1 keys in" in done.stderr
