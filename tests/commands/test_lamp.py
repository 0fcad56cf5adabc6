"""The script `lamp`: real shells, real venvs, real pip. What it installs is made here, so no network is used."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MAIN = """import os, sys, lantern
print(lantern.VERSION, os.getcwd(), sys.argv[1:])
sys.exit(7 if sys.argv[1:] == ["seven"] else 0)
"""
HOME = {"HOME": os.environ.get("HOME", "/")}


Done = subprocess.CompletedProcess[str]


def call(words: Sequence[str | Path], path: str = os.environ["PATH"], cwd: Path = ROOT) -> Done:
    return subprocess.run(words, cwd=cwd, env=HOME | {"PATH": path}, capture_output=True, text=True, check=False)


def wheel(folder: Path, version: str) -> None:
    """A package `lantern` of `version` that pip can install. It names another one, which nobody has."""
    info = f"lantern-{version}.dist-info"
    with zipfile.ZipFile(folder / f"lantern-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("lantern.py", f"VERSION = {version!r}\n")
        archive.writestr("never_imported.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: lantern\nVersion: {version}\n"
                                             "Requires-Dist: nobody-has-this==1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def require(house: Path, version: str) -> None:
    made = house / "wheels" / f"lantern-{version}-py3-none-any.whl"
    digest = hashlib.sha256(made.read_bytes() if made.exists() else b"").hexdigest()
    text = f"--no-index\n--find-links {(house / 'wheels').as_uri()}\nlantern=={version} --hash=sha256:{digest}\n"
    (house / "requirements" / "lamp.txt").write_text(text)


def build(house: Path) -> Path:
    """A house that has the real `lamp` and nothing else real."""
    for folder in ("wheels", "commands", "requirements"):
        (house / folder).mkdir(parents=True)
    shutil.copy(ROOT / "lamp", house)
    (house / "commands" / "__main__.py").write_text(MAIN)
    for version in ("1.0", "1.1"):
        wheel(house / "wheels", version)
    require(house, "1.0")
    return house


def stub(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A house where nothing has been set up yet; its path holds a space."""
    return build(tmp_path / "a house")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A house that has been set up, without the seconds that pip takes; test_the_first_start does it for real."""
    built = build(tmp_path / "a house")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(built / ".venv")], check=True)
    for folder in (built / ".venv" / "lib").glob("python3.*"):
        (folder / "site-packages" / "lantern.py").write_text("VERSION = '1.0'\n")
    subprocess.run(["/bin/sh", "-c", "cksum <requirements/lamp.txt >.venv/lamp-stamp"], cwd=built, check=True)
    return built


@pytest.fixture(scope="module")
def real_house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A house that has been set up, on a machine where the first Python on the PATH is a shim for one that is gone."""
    shims = tmp_path_factory.mktemp("shims")
    stub(shims, "python3.13", "exit 127")
    stub(shims, "python3.12", f'exec {sys.executable} "$@"')
    built = build(tmp_path_factory.mktemp("set up") / "a house")
    done = call([built / "lamp"], path=f"{shims}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"1.0 {ROOT} []\n"
    assert "lamp: setting up .venv with Python 3." in done.stderr
    assert "lamp: fetching 1: lantern-1.0-py3-none-any.whl\nlamp: installing 1 packages\nlamp: ready\n" in done.stderr
    return built


@pytest.mark.slow
def test_of_two_first_starts_at_once_one_sets_up_and_the_other_waits(bare: Path) -> None:
    both = [subprocess.Popen([bare / "lamp", name], env=HOME | {"PATH": os.environ["PATH"]}, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for name in "ab"]
    told = [one.communicate() for one in both]
    assert [out for out, _ in told] == [f"1.0 {Path.cwd()} ['{name}']\n" for name in "ab"], told
    waiting = "lamp: waiting for another command that sets up .venv"
    assert sorted(waiting in err for _, err in told) == [False, True]
    assert sorted("lamp: setting up .venv" in err for _, err in told) == [False, True]


@pytest.mark.slow
def test_the_first_start_sets_up_and_the_second_is_silent(real_house: Path) -> None:
    done = call([real_house / "lamp", "x"])
    assert (done.stdout, done.stderr) == (f"1.0 {ROOT} ['x']\n", "")


@pytest.mark.slow
def test_the_first_start_installs_what_the_lock_names_and_compiles_only_what_is_imported(real_house: Path) -> None:
    [site] = (real_house / ".venv" / "lib").glob("python3.*/site-packages")
    assert (site / "never_imported.py").exists() and not list(site.glob("nobody*"))
    assert {path.name.split(".")[0] for path in (site / "__pycache__").iterdir()} <= {"lantern", "_virtualenv"}


def test_no_python_at_all(bare: Path) -> None:
    done = call(["/bin/sh", bare / "lamp"], path="")
    assert done.returncode == 1
    assert done.stderr.startswith("lamp: needs Python 3.11 or newer and found none.\nlamp: Install one, for example:")
    assert not (bare / ".venv").exists()


def test_too_old_a_python_and_shims_that_fail(bare: Path, tmp_path: Path) -> None:
    stub(tmp_path / "bin", "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    # What a Python 3.10 answers to the question for its version.
    stub(tmp_path / "bin", "python3", 'case $2 in *"< (3, 11)"*) exit 1 ;; esac; exit 0')
    done = call(["/bin/sh", bare / "lamp"], path=str(tmp_path / "bin"))
    assert done.returncode == 1
    assert "needs Python 3.11 or newer and found none" in done.stderr
    assert "pyenv" not in done.stderr


def test_python_without_ensurepip(bare: Path, tmp_path: Path) -> None:
    stub(tmp_path / "bin", "python3", f'case $2 in *ensurepip*) exit 1 ;; esac; exec {sys.executable} "$@"')
    done = call(["/bin/sh", bare / "lamp"], path=str(tmp_path / "bin"))
    assert done.returncode == 1
    assert "python3 cannot make a .venv: its module venv or ensurepip is missing" in done.stderr
    assert "sudo apt install python3 python3-venv" in done.stderr


@pytest.mark.slow
def test_a_failed_install_says_so_and_is_resumed(bare: Path) -> None:
    require(bare, "9.9")
    failed = call([bare / "lamp"])
    assert failed.returncode == 1
    assert "No matching distribution found for lantern==9.9" in failed.stderr
    assert "lamp: pip could not install requirements/lamp.txt (see above); run this command again" in failed.stderr
    (bare / ".venv" / "kept").touch()
    require(bare, "1.0")
    resumed = call([bare / "lamp"])
    assert (resumed.returncode, resumed.stdout) == (0, f"1.0 {ROOT} []\n")
    assert (bare / ".venv" / "kept").exists(), "a sound .venv is kept"


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["bin/python", "lib"])
def test_a_half_made_venv_is_made_anew(real_house: Path, tmp_path: Path, lost: str) -> None:
    copy = tmp_path / "half made"
    shutil.copytree(real_house, copy, symlinks=True)
    (copy / ".venv" / "lamp-stamp").unlink()
    gone = copy / ".venv" / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    done = call([copy / "lamp"])
    assert (done.returncode, done.stdout) == (0, f"1.0 {ROOT} []\n"), done.stderr


@pytest.mark.slow
def test_a_warm_start_is_silent_and_hands_everything_over(house: Path, tmp_path: Path) -> None:
    done = call([house / "lamp", "two words", "--json", "*"], cwd=tmp_path)
    assert (done.stdout, done.stderr) == (f"1.0 {tmp_path} ['two words', '--json', '*']\n", "")
    assert call([house / "lamp", "seven"]).returncode == 7


@pytest.mark.slow
def test_through_symlinks_and_from_the_path(house: Path, tmp_path: Path) -> None:
    absolute, relative = tmp_path / "absolute", tmp_path / "bin" / "lamp"
    absolute.symlink_to(house / "lamp")
    relative.parent.mkdir()
    relative.symlink_to("../absolute")
    for words, path in (([absolute], "/usr/bin:/bin"), (["lamp", "x"], f"{relative.parent}:/usr/bin:/bin")):
        done = call(words, path=path, cwd=tmp_path)
        assert done.stdout.startswith(f"1.0 {tmp_path} "), done.stderr


@pytest.mark.slow
def test_a_folder_named_commands_where_the_user_stands_is_not_taken(house: Path, tmp_path: Path) -> None:
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "__main__.py").write_text("print('the wrong one')")
    assert call([house / "lamp"], cwd=tmp_path).stdout.startswith("1.0 ")


@pytest.mark.slow
def test_changed_requirements_are_installed(real_house: Path, tmp_path: Path) -> None:
    copy = tmp_path / "changed"
    shutil.copytree(real_house, copy, symlinks=True)
    require(copy, "1.1")
    assert call([copy / "lamp"]).stdout.startswith("1.1 ")
    assert call([copy / "lamp"]).stderr == ""


@pytest.mark.slow
def test_a_package_with_another_content_is_refused(bare: Path) -> None:
    wheel(bare / "wheels", "1.0")
    with zipfile.ZipFile(bare / "wheels" / "lantern-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("more.py", "")
    done = call([bare / "lamp"])
    assert done.returncode == 1
    assert "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE" in done.stderr


@pytest.mark.slow
def test_a_warm_start_runs_one_small_program_and_then_its_python(house: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name in ("cat", "cksum", "sed", "grep"):
        stub(tmp_path / "bin", name, f'echo {name} >>"{log}"; exec {shutil.which(name)} "$@"')
    done = call([house / "lamp"], path=str(tmp_path / "bin"))
    assert (done.stdout, done.stderr) == (f"1.0 {ROOT} []\n", "")
    assert log.read_text().split() == ["cksum"]
