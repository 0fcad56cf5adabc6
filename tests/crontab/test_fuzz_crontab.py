"""The crontab reader against bytes that nobody would write."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crontab import fuzz_crontab as fuzz
from tests.fuzzing import coverage_guided

SEEDS = [
    b"*/5 * * * * x%y\\%z\n", b"@daily root x\n", b'MAILTO=""\n', b"CRON_TZ=Asia/Tokyo\n", b"# lamp: overlap=skip\n",
    b"0 0 1-7 * mon,fri-sun root x", b"\r\n", b"\0", b"\xff", b"A = 'b' \n", b"@reboot x\n", b"\t \n", b"\xc3\xa5",
]  # fmt: skip
FIELD = st.text(alphabet="0123456789*/-,;#.~?LWHabejnsu", max_size=6)
LINE = st.lists(FIELD, min_size=3, max_size=8).map(lambda fields: " ".join(fields).encode() + b"\n")


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    fuzz.check_both(data)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(st.sampled_from(SEEDS) | LINE | st.binary(max_size=8), max_size=12))
def test_bytes_that_look_like_crontabs(parts: list[bytes]) -> None:
    fuzz.check_both(b"".join(parts))


@pytest.mark.slow
@pytest.mark.parametrize("runs", [4_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_coverage_guided(runs: int, tmp_path: Path) -> None:
    coverage_guided(Path(fuzz.__file__), SEEDS, runs, 256, tmp_path)
