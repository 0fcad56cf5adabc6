"""The probe's side of the protocol, packet by packet."""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from chalicelib.mysql import handshake
from chalicelib.mysql.handshake import Handshake, HandshakeResult
from sandbox import mysql_stub
from sandbox.mysql_stub import denial, packet, refusal

HELLO = mysql_stub.greeting()
ROOT = Path(__file__).resolve().parent.parent.parent


def hear(*packets: bytes, expected: str = "") -> tuple[HandshakeResult | None, list[bytes]]:
    """What a talk finds, and what it says after each of `packets`."""
    talk = Handshake(expected)
    said = [talk.data_received(data) for data in packets]
    return talk.found, said


def split(answer: bytes) -> tuple[int, bytes]:
    """The number and the payload of one packet, which is all there is."""
    assert int.from_bytes(answer[:3], "little") == len(answer) - 4
    return answer[3], answer[4:]


@pytest.mark.parametrize(("sent", "version"), [
    ("5.5.5-10.11.19-MariaDB-log", "10.11.19-MariaDB-log"),
    ("11.8.2-MariaDB", "11.8.2-MariaDB"),
    ("8.4.3", "8.4.3"),
    ("5.5.5-m3", "5.5.5-m3"),  # MySQL 5.5.5 itself, a milestone of 2010
])
def test_a_version_is_told_without_the_prefix_of_mariadb_10(sent: str, version: str) -> None:
    assert hear(mysql_stub.greeting(sent), denial()) == (HandshakeResult("up", "answered", version),
                                                      [hear(HELLO)[1][0], b""])


def test_the_greeting_is_read() -> None:
    read = handshake.parse(mysql_stub.greeting("8.4.3", "caching_sha2_password")[4:])
    assert read == handshake.InitialHandshake("8.4.3", 7, 0x8A201, b"caching_sha2_password")


def test_the_login_is_whole() -> None:
    number, payload = split(hear(HELLO)[1][0])
    assert number == 1
    assert int.from_bytes(payload[:4], "little") == 0x8A201
    assert payload[32:] == b"lamp-probe\0" + b"\x14" + b"\1" * 20 + b"mysql_native_password\0"


@pytest.mark.parametrize(("version", "plugin", "end"), [
    ("8.4.3", "caching_sha2_password", b"lamp-probe\0\1\0caching_sha2_password\0"),
    ("12.1.1-MariaDB", "parsec", b"lamp-probe\0\1\0parsec\0"),
    ("5.1.73", "", b"lamp-probe\0\x14" + b"\1" * 20),
])
def test_the_login_is_in_the_words_of_the_plugin(version: str, plugin: str, end: bytes) -> None:
    assert split(hear(mysql_stub.greeting(version, plugin))[1][0])[1][32:] == end


@pytest.mark.parametrize(("plugin", "answer"), [
    (b"client_ed25519", b"\0" * 64),  # MariaDB counts any other length as an error of the handshake
    (b"mysql_native_password", b"\1" * 20),
    (b"mysql_old_password", b"xxxxxxxx\0"),
    (b"caching_sha2_password", b"\0"), (b"parsec", b"\0"), (b"dialog", b"\0"), (b"auth_gssapi_client", b"\0"),
])
def test_a_switch_of_the_plugin_is_answered(plugin: bytes, answer: bytes) -> None:
    found, said = hear(HELLO, packet(b"\xfe" + plugin + b"\0" + b"s" * 20, 2), denial(4))
    assert (split(said[1]), found and found.side) == ((3, answer), "up")


def test_the_switch_of_before_plugins_is_answered() -> None:
    assert split(hear(HELLO, packet(b"\xfe", 2))[1][1]) == (3, b"xxxxxxxx\0")


def test_questions_of_a_plugin_are_answered_and_not_for_ever() -> None:
    found, said = hear(HELLO, *(packet(b"\1more", 2 + 2 * n) for n in range(9)))
    assert found == HandshakeResult("far", "garbage", "asks on and on")
    assert [split(answer) for answer in said[1:9]] == [(3 + 2 * n, b"\0") for n in range(8)]


def test_who_is_let_in_leaves_in_good_order() -> None:
    found, said = hear(HELLO, packet(b"\0\0\0\2\0\0\0", 2))
    assert (found and found.side, split(said[1])) == ("up", (0, b"\1"))


@pytest.mark.parametrize(("packets", "side", "why"), [
    ([refusal(1129, "Host 'a' is blocked because of many connection errors")], "far", "blocked"),
    ([refusal(1130, "Host 'a' is not allowed to connect")], "far", "not-allowed"),
    ([refusal(1040, "Too many connections")], "far", "too-many-connections"),
    ([refusal(1040, "Too many connections", 0, "08004")], "far", "too-many-connections"),
    ([HELLO, refusal(1040, "Too many connections", 2, "08004")], "far", "too-many-connections"),
    ([HELLO, refusal(1203, "User x already has more", 2, "42000")], "far", "too-many-connections"),
    ([HELLO, refusal(1053, "Server shutdown in progress", 2, "08S01")], "far", "shutting-down"),
    ([HELLO, refusal(1043, "Bad handshake", 2, "08S01")], "far", "counted"),
    ([HELLO, refusal(1275, "Server is running in --secure-auth mode", 2, "HY000")], "far", "counted"),
    ([HELLO, refusal(1698, "Access denied for user 'x'@'y'", 2, "28000")], "up", "answered"),
    ([HELLO, refusal(3159, "Connections using insecure transport are prohibited", 2, "HY000")], "up", "answered"),
    ([HELLO, packet(b"\xfeauth_gssapi_client\0mariadb/a@B\0", 2), refusal(1105, "Server GSSAPI error", 4, "HY000")],
     "up", "answered"),
    ([HELLO, refusal(9999, "Something new", 2, "HY000")], "far", "error"),
    ([refusal(1045, "Access denied before any greeting")], "far", "error"),
    ([b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n"], "far", "garbage"),
    ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "far", "garbage"),
    ([packet(b"\t3.20.1\0")], "far", "garbage"),
    ([packet(b"\n")], "far", "garbage"),
    ([packet(b"")], "far", "garbage"),
    ([packet(b"\n8.4\0" + b"x" * 14)], "far", "garbage"),
    ([(1 << 20).to_bytes(3, "little") + b"\0"], "far", "too-long"),
])
def test_what_is_found(packets: Sequence[bytes], side: str, why: str) -> None:
    found, _ = hear(*packets)
    assert found and (found.side, found.why) == (side, why)


def test_a_megabyte_of_greeting_is_refused_by_its_first_four_bytes() -> None:
    talk = Handshake()
    assert talk.data_received(packet(b"\n" + b"9" * (1 << 20))[:4]) == b""
    assert talk.found == HandshakeResult("far", "too-long", "a packet of 1,048,577 bytes")


def test_another_server_is_told_by_its_version_and_all_the_same_taken_leave_of() -> None:
    found, said = hear(mysql_stub.greeting("8.4.3"), denial(), expected="-MariaDB")
    assert (found, len(said[0]) > 0) == (HandshakeResult("far", "wrong-server", "8.4.3"), True)
    assert hear(HELLO, denial(), expected="-MariaDB")[0] == HandshakeResult("up", "answered", "10.11.19-MariaDB")


@pytest.mark.parametrize(("heard", "closed", "reset", "late"), [
    (b"", ("far", "closed"), ("local", "reset"), ("ambiguous", "hung")),
    (HELLO[:9], ("ambiguous", "cut"), ("ambiguous", "cut"), ("ambiguous", "slow")),
    (HELLO, ("ambiguous", "cut"), ("ambiguous", "cut"), ("ambiguous", "mute")),
])
def test_an_end_says_more_the_earlier_it_comes(
    heard: bytes, closed: tuple[str, str], reset: tuple[str, str], late: tuple[str, str]
) -> None:
    for end, expected in (
        (Handshake.connection_closed, closed),
        (Handshake.connection_reset, reset),
        (Handshake.timed_out, late),
    ):
        talk = Handshake()
        talk.data_received(heard)
        assert end(talk)[:2] == expected


def test_what_is_quoted_is_printable_and_short() -> None:
    found, _ = hear(refusal(1130, "a\x1b[31m\n\0b" + "é" * 400))
    assert found and found.said.startswith("1130 a?[31m??b") and len(found.said) <= 205


def test_a_tunnel_host_can_read_it() -> None:
    """It is shipped to hosts with Python 3.9 and nothing else."""
    tree = ast.parse((ROOT / "chalicelib" / "mysql" / "handshake.py").read_text(), feature_version=(3, 9))
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert names <= set(sys.stdlib_module_names), names
