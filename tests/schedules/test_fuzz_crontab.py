"""The crontab reader against bytes that nobody would write."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

_spec = importlib.util.spec_from_file_location("fuzz_crontab", HERE / "fuzz_crontab.py")
assert _spec and _spec.loader
fuzz = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fuzz)

SEEDS = [
    b"*/5 * * * * x%y\\%z\n", b"@daily root x\n", b'MAILTO=""\n', b"CRON_TZ=Asia/Tokyo\n", b"# lamp: overlap=skip\n",
    b"0 0 1-7 * mon,fri-sun root x", b"\r\n", b"\0", b"\xff", b"A = 'b' \n", b"@reboot x\n", b"\t \n", b"\xc3\xa5",
]  # fmt: skip
FIELD = st.text(alphabet="0123456789*/-,;#.~?LWHabejnsu", max_size=6)
LINE = st.lists(FIELD, min_size=3, max_size=8).map(lambda fields: " ".join(fields).encode() + b"\n")


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    fuzz.check_both(data)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(SEEDS) | LINE | st.binary(max_size=8), max_size=12))
def test_bytes_that_look_like_crontabs(parts: list[bytes]) -> None:
    fuzz.check_both(b"".join(parts))


@pytest.mark.parametrize("runs", [4_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_coverage_guided(runs: int, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: no coverage-guided fuzzing here, only hypothesis")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS):
        (corpus / str(number)).write_bytes(seed)
    words = [sys.executable, str(HERE / "fuzz_crontab.py"), f"-runs={runs}", "-seed=7", "-max_len=256", "-timeout=20",
             f"-artifact_prefix={tmp_path}/", str(corpus)]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    assert f"Done {runs} runs" in ran.stderr
