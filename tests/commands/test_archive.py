"""The final zip: the same bytes, and modules that import from what is compiled."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from commands import roots
from commands.deploy import archive

SOURCES = {"b/__init__.py": "", "b/m.py": "SETS = {'x', 'y', 'z'} and [n for n in 'a' if n in {'p', 'q', 'r'}]\n",
           "a.py": "import b.m\n", "data.bin": "x", "b/__pycache__/m.cpython-311.pyc": "old", "bin/tool": "x",
           "p-1.dist-info/RECORD": "b/m.py,sha256=x"}


def archived(names: list[str], path: Path, seed: str = "0") -> bytes:
    """The final zip of SOURCES, listed in the order of `names`."""
    source, target = path.with_suffix(".in"), path.with_suffix(".out")
    with zipfile.ZipFile(source, "w") as old:
        for name in names:
            old.writestr(name, SOURCES[name])
    subprocess.run([sys.executable, "-P", "-m", "commands.deploy.archive", source, target, path.with_suffix(".cache")],
                   check=True, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(roots.PRODUCT)})
    return target.read_bytes()


@pytest.mark.slow
def test_neither_order_nor_time_nor_place_shows(tmp_path: Path) -> None:
    names = list(SOURCES)
    assert archived(names, tmp_path / "one") == archived(names[::-1], tmp_path / "two")


@pytest.mark.slow
def test_what_runs_is_kept_and_what_machines_left_behind_is_not(tmp_path: Path) -> None:
    archived(list(SOURCES), tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "x.out") as made:
        names = made.namelist()
    tag = sys.implementation.cache_tag
    assert names == ["a.py", f"__pycache__/a.{tag}.pyc", "b/__init__.py", f"b/__pycache__/__init__.{tag}.pyc",
                     "b/m.py", f"b/__pycache__/m.{tag}.pyc", "data.bin"]


@pytest.mark.slow
def test_python_imports_the_compiled_files_without_looking_at_the_sources(tmp_path: Path) -> None:
    archived(list(SOURCES), tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "x.out") as made:
        made.extractall(tmp_path / "code")
    (tmp_path / "code" / "b" / "m.py").write_text("raise SystemExit('compiled afresh')\n")
    subprocess.run([sys.executable, "-c", "import a"], cwd=tmp_path / "code", check=True)


def test_two_packagings_with_one_cache_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins and ends while the first is about to put its compiled module in the cache."""
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as old:
        old.writestr("a.py", "A = 1\n")
    replace = Path.replace

    def interrupted(half: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        archive.repack(tmp_path / "in.zip", tmp_path / "second.zip", tmp_path / "cache")
        return replace(half, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    archive.repack(tmp_path / "in.zip", tmp_path / "first.zip", tmp_path / "cache")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()


def test_a_module_that_does_not_compile_stops_the_packaging(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as old:
        old.writestr("broken.py", "def")
    with pytest.raises(SyntaxError, match="broken"):
        archive.repack(tmp_path / "in.zip", tmp_path / "out.zip", tmp_path / "cache")
