"""The code of Lambdas that start at once: one copy, made once."""

import shutil
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sandbox.lambdas import Unpacked

STARTS = 16


def test_lambdas_that_start_at_once_unpack_their_package_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "world"))
    (tmp_path / "world").mkdir()
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as made:
        made.writestr("app.py", "")
        made.writestr("library/__init__.py", "")
    unpacked: list[Path] = []
    real = zipfile.ZipFile.extractall

    def counted(self: zipfile.ZipFile, path: Any = None, *rest: Any) -> None:
        unpacked.append(path)
        time.sleep(0.3)  # as long as a package of thousands of files takes, so that the others come meanwhile
        real(self, path, *rest)

    monkeypatch.setattr(zipfile.ZipFile, "extractall", counted)
    together = threading.Barrier(STARTS)

    def start(number: int) -> Path:
        (folder := tmp_path / str(number)).mkdir()
        own = tmp_path / f"{number}.zip"  # each process has its copy
        shutil.copy(tmp_path / "code.zip", own)
        together.wait()
        with Unpacked(str(own)) as code:
            code.extractall(str(folder))
        assert not own.exists()
        return folder

    with ThreadPoolExecutor(STARTS) as pool:
        folders = list(pool.map(start, range(STARTS)))
    assert len(unpacked) == 1
    assert {tuple(sorted(path.name for path in folder.iterdir())) for folder in folders} == {("app.py", "library")}
    assert {(folder / "library").resolve() for folder in folders} == {(folders[0] / "library").resolve()}


def test_start_whose_folder_is_taken_away_meanwhile_ends_without_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as made:
        made.writestr("app.py", "")
    (tmp_path / "code").mkdir()
    with Unpacked(str(tmp_path / "code.zip")):
        (tmp_path / "code.zip").unlink()
