"""The probe's conversation against bytes that no server would send."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.mysql_stub import denial, greeting, packet, refusal
from tests.fuzzing import coverage_guided
from tests.mysql import fuzz_handshake as fuzz

SEEDS = [
    greeting(), greeting("8.4.3", "caching_sha2_password"), greeting("5.0.96", ""), greeting(plugin=""), denial(),
    refusal(1129, "Host '127.0.0.2' is blocked"), refusal(1040, "Too many connections"), packet(b"\0\0\0\2\0\0\0", 2),
    packet(b"\xfeclient_ed25519\0" + b"s" * 32, 2), packet(b"\xfe", 2), packet(b"\1\4", 2), packet(b"", 2),
    b"SSH-2.0-OpenSSH_9.2p1\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xff\xff\0", packet(b"\t5.0\0"), b"\0" * 9,
]  # fmt: skip


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    fuzz.check(data)


@pytest.mark.slow
@settings(max_examples=400)
@given(st.lists(st.sampled_from(SEEDS) | st.binary(max_size=60).map(packet) | st.binary(max_size=8), max_size=12))
def test_bytes_that_look_like_a_server(parts: list[bytes]) -> None:
    fuzz.check(b"".join(parts))


@pytest.mark.slow
@settings(max_examples=300)
@given(st.sampled_from(SEEDS), st.integers(0, 120), st.integers(0, 255))
def test_a_greeting_with_one_wrong_byte(seed: bytes, at: int, byte: int) -> None:
    fuzz.check(seed[:at] + bytes([byte]) + seed[at + 1:] + denial())


@pytest.mark.slow
@pytest.mark.parametrize("runs", [4_000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_coverage_guided(runs: int, tmp_path: Path) -> None:
    seeds = [*SEEDS, greeting() + denial(), greeting() + SEEDS[8] + denial()]
    coverage_guided(Path(fuzz.__file__), seeds, runs, 512, tmp_path)
