"""Coverage-guided fuzzing, as a program of its own: atheris counts what it has reached in the whole process."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def coverage_guided(program: Path, seeds: Iterable[bytes], runs: int, longest: int, folder: Path) -> None:
    """Lets `program` (a fuzz_*.py) try `runs` inputs of up to `longest` bytes that grow from `seeds`.

    What it finds is left in `folder`.
    """
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: no coverage-guided fuzzing here, only hypothesis")
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    words = [sys.executable, str(program), f"-runs={runs}", "-seed=7", f"-max_len={longest}", "-timeout=20",
             f"-artifact_prefix={folder}/", str(corpus)]  # fmt: skip
    ran = subprocess.run(words, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
                         timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    assert f"Done {runs} runs" in ran.stderr
