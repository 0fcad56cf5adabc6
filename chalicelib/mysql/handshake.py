"""A probe's messages to a MySQL or MariaDB server, and the meaning of the answers. Bytes go in, bytes come out.

The server speaks first. The probe reads its handshake, logs in as a user that does not exist, is told "access denied",
and is done. That login makes it polite. A server counts every connection with an unfinished handshake as an error of
the client's host. Examples are connect and close, handshake and close, COM_QUIT in place of an answer, and only an
SSLRequest. After `max_connect_errors` errors (100 by default) it blocks the host, replication included. A wrong
password or an unknown user is no such error. 127.0.0.1 alone is never refused.

An unknown user is handled like some real account, chosen by a hash of the unknown name, so that nobody learns who
exists. The server may therefore ask for that account's authentication plugin, and counts an unexpected answer. So each
plugin gets an answer of its own length (`_ANSWERS`).

mariadb.com/kb/en/connection and MySQL's source documentation ("Connection Phase Packets") describe the packets.
`inc_host_errors` in `acl_authenticate` of both servers counts the errors, and `find_mpvio_user` in MariaDB's sql_acl.cc
is the decoy account.

This file goes to the tunnel hosts as well, so it uses the standard library only, and Python 3.9 must be able to read
it.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

# Nobody may have this name; 16 characters are what the oldest servers allow.
USER = b"lamp-probe"
# The longest packet that is listened to (bytes). A greeting has some 100, a server's RSA key some 450, an error 520.
LONGEST = 4_096
# So many questions of an authentication plugin are answered; the ones there are ask three at most.
_QUESTIONS = 8

_LONG_PASSWORD, _PROTOCOL_41, _TRANSACTIONS = 0x1, 0x200, 0x2000
_SECURE_CONNECTION, _PLUGIN_AUTH = 0x8000, 0x80000
_WANTED = _LONG_PASSWORD | _PROTOCOL_41 | _TRANSACTIONS | _SECURE_CONNECTION | _PLUGIN_AUTH

# Answers that no account takes and no server counts. Native: a 20-byte digest (an empty one would log in where an
# anonymous account exists). Ed25519: 64 bytes, anything else is counted. The old plugin: 8 characters and a NUL.
_OLD = b"x" * 8 + b"\0"
_ANSWERS = {b"mysql_native_password": b"\1" * 20, b"client_ed25519": b"\0" * 64, b"mysql_old_password": _OLD}
# An empty password. SHA-256 plugins ask for nothing more; parsec counts a wrong signature, but not this, which it
# takes for a client that it cannot talk to.
_EMPTY = b"\0"

# What an error number says. The texts of servers differ by version and language; the numbers do not.
_FAR = {
    1040: "too-many-connections", 1129: "blocked", 1130: "not-allowed", 1053: "shutting-down", 1041: "out-of-memory",
    1135: "out-of-threads", 1203: "too-many-connections", 1226: "too-many-connections",
    # Errors of the handshake: the server has counted this probe.
    1043: "counted", 1251: "counted", 1275: "counted",
}  # fmt: skip
# Access denied, also without a password, to a locked account, to an expired one, for want of TLS or of a plugin, and
# what a plugin says (Kerberos: 1105): whoever says so has looked the user up, so the database works.
_UP = frozenset({1045, 1698, 1044, 4151, 3118, 1862, 1820, 3159, 1524, 1105})


class HandshakeResult(NamedTuple):
    """The result of a probe, with `side` and `why` as in `ProbeResult`. `said` quotes the server, printable characters
    only."""

    side: str
    why: str
    said: str = ""


class InitialHandshake(NamedTuple):
    """A server's first packet. `version` is without the "5.5.5-" that MariaDB 10 puts first. `plugin` may be empty."""

    version: str
    connection: int
    capabilities: int
    plugin: bytes


class Handshake:
    """One conversation, from the probe's side. `found` is what came of it, once that is known. No bytes raise an error.

    `expected` is a text that the server's version must contain, such as "-MariaDB" or its `--version-suffix`.
    """

    __slots__ = ("_asked", "_buffer", "expected", "found", "greeting")

    def __init__(self, expected: str = "") -> None:
        self.expected = expected
        self.found: HandshakeResult | None = None
        self.greeting: InitialHandshake | None = None
        self._buffer = b""
        self._asked = 0

    def data_received(self, data: bytes) -> bytes:
        """The bytes to send after `data` came. Empty for nothing. With `found` set, send it and close."""
        self._buffer += data
        answer = b""
        while self.found is None and len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:3], "little")
            number = self._buffer[3]
            if size > LONGEST or (self.greeting is None and number):
                self.found = self._garbage(size, number)
            elif len(self._buffer) < 4 + size:
                break
            else:
                payload, self._buffer = self._buffer[4:4 + size], self._buffer[4 + size:]
                answer += self._packet(payload, number)
        return answer

    def connection_closed(self) -> HandshakeResult:
        """The meaning of a close by the other side at this moment.

        Before the handshake, the tunnel accepted the connection, and its far end could not make one to the database
        (sshd refuses the channel, ssh closes). In mid-sentence, one of the two just died, and the next probe will show
        which.
        """
        return self._ended(HandshakeResult("far", "closed", ""))

    def connection_reset(self) -> HandshakeResult:
        """The meaning of a reset at this moment. Before the handshake the tunnel's process has died."""
        return self._ended(HandshakeResult("local", "reset", ""))

    def timed_out(self) -> HandshakeResult:
        """The meaning of silence up to the deadline."""
        if self.greeting:
            return HandshakeResult("ambiguous", "mute", self.greeting.version)
        return HandshakeResult("ambiguous", "slow" if self._buffer else "hung", printable(self._buffer))

    def _ended(self, early: HandshakeResult) -> HandshakeResult:
        if self.found is None:
            begun = self.greeting or self._buffer
            said = self.greeting.version if self.greeting else printable(self._buffer)
            self.found = HandshakeResult("ambiguous", "cut", said) if begun else early
        return self.found

    def _garbage(self, size: int, number: int) -> HandshakeResult:
        why = "garbage" if number else "too-long"
        return HandshakeResult("far", why, printable(self._buffer[:80]) if number else f"a packet of {size:,} bytes")

    def _packet(self, payload: bytes, number: int) -> bytes:
        if payload[:1] == b"\xff":
            self.found = self._error(payload)
            return b""
        if self.greeting is None:
            return self._greeted(payload)
        if payload[:1] == b"\0":
            # Somebody has made an account that takes anybody. In good order: COM_QUIT, numbered anew.
            self.found = self._up(f"logged in, as an account takes any user ({self.greeting.version})")
            return b"\1\0\0\0\1"
        return self._question(payload, number)

    def _greeted(self, payload: bytes) -> bytes:
        self.greeting = parse(payload)
        if self.greeting is None:
            self.found = HandshakeResult("far", "garbage", printable(payload[:80]))
            return b""
        return response(self.greeting.capabilities, self.greeting.plugin)

    def _question(self, payload: bytes, number: int) -> bytes:
        self._asked += 1
        if self._asked > _QUESTIONS:
            self.found = HandshakeResult("far", "garbage", "asks on and on")
            return b""
        # 0xfe asks for another plugin, alone for that of before 2003; anything else is a plugin's own question.
        switch = payload[:1] == b"\xfe"
        plugin = (payload[1:].split(b"\0", 1)[0] or b"mysql_old_password") if switch else b""
        return packed(_ANSWERS.get(plugin, _EMPTY), number + 1)

    def _error(self, payload: bytes) -> HandshakeResult:
        code = int.from_bytes(payload[1:3], "little")
        text = payload[9:] if payload[3:4] == b"#" else payload[3:]
        if code in _UP and self.greeting:
            return self._up(self.greeting.version)
        return HandshakeResult("far", _FAR.get(code, "error"), f"{code} {printable(text)}")

    def _up(self, said: str) -> HandshakeResult:
        version = self.greeting.version if self.greeting else ""
        return HandshakeResult("up", "answered",
                               said) if self.expected in version else HandshakeResult("far", "wrong-server", version)


def parse(payload: bytes) -> InitialHandshake | None:
    """The handshake that a first packet holds. `None` if it is none of protocol 10 (every server since 1998)."""
    version, _, rest = payload[1:].partition(b"\0")
    # Connection (4), seed (8), NUL, capabilities (2), charset, status (2), capabilities (2), seed's length, 10 more.
    if payload[:1] != b"\n" or not version or len(rest) < 15:
        return None
    connection, low = struct.unpack_from("<I9xH", rest)
    high, length = struct.unpack_from("<HB", rest, 18) if len(rest) >= 21 else (0, 0)
    capabilities = low | high << 16
    seed = max(13, length - 8) if capabilities & _SECURE_CONNECTION else 0
    plugin = rest[31 + seed:].split(b"\0", 1)[0] if capabilities & _PLUGIN_AUTH else b""
    if version.startswith(b"5.5.5-") and b"MariaDB" in version:
        version = version[6:]
    return InitialHandshake(printable(version), connection, capabilities, plugin)


@lru_cache(maxsize=64)
def response(capabilities: int, plugin: bytes) -> bytes:
    """The packet that logs in as nobody, for a server with such `capabilities` that greeted with `plugin`."""
    flags = _WANTED & (capabilities | _LONG_PASSWORD | _PROTOCOL_41)
    answer = _ANSWERS.get(plugin or b"mysql_native_password", _EMPTY)
    payload = struct.pack("<IIB23x", flags, 1 << 24, 33) + USER + b"\0"
    payload += bytes([len(answer)]) + answer if flags & _SECURE_CONNECTION else _OLD
    if flags & _PLUGIN_AUTH:
        payload += (plugin or b"mysql_native_password") + b"\0"
    return packed(payload, 1)


def packed(payload: bytes, number: int) -> bytes:
    """A packet, with its length in three bytes and its number in one."""
    return len(payload).to_bytes(3, "little") + bytes([number & 255]) + payload


def printable(data: bytes) -> str:
    """The part of `data` that may be quoted, at most 200 printable characters."""
    text = data[:200].decode("utf-8", "replace")
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
