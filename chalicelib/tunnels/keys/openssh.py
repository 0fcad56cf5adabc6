"""SSH keys as text, a private one as ssh reads it, a public one as the gateways' parameter lists it. Pure.

The private form is OpenSSH's own (PROTOCOL.key in its source), with a marker, the public key, and an inner block. The
block is not encrypted here, because the secret that holds it is.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_KIND = b"ssh-ed25519"
_MARKER = b"openssh-key-v1\0"
_LINE = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{68} ([0-9a-f-]{36})")


class Key:
    """A private key and the version of the secret that it is kept as. Its text form tells neither seed nor key."""

    def __init__(self, seed: bytes, version: str) -> None:
        self._seed = seed
        self.version = version
        self._public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"Key({self.version})"

    def private(self) -> str:
        """The content of an identity file for ssh."""
        blob = base64.b64encode(_MARKER + _text(b"none") + _text(b"none") + _text(b"") + _number(1)
                                + _text(self._blob()) + _text(self._inner())).decode()
        lines = [blob[at:at + 70] for at in range(0, len(blob), 70)]
        return "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])

    def line(self) -> str:
        """The public key, with the version as its comment."""
        return f"{_KIND.decode()} {base64.b64encode(self._blob()).decode()} {self.version}"

    def _blob(self) -> bytes:
        return _text(_KIND) + _text(self._public)

    def _inner(self) -> bytes:
        # Two equal numbers by which a reader tells that it has decrypted well; any will do.
        check = hashlib.sha256(self._public).digest()[:4]
        block = check * 2 + _text(_KIND) + _text(self._public) + _text(self._seed + self._public)
        block += _text(self.version.encode())
        return block + bytes(range(1, 1 + -len(block) % 8))


def published(lines: str) -> dict[str, str]:
    """Version -> line, of the lines that are public keys of ours."""
    found = {match[1]: line for line in lines.splitlines() if (match := _LINE.fullmatch(line))}
    return found


def shared(told: Sequence[Mapping[str, str]]) -> tuple[dict[str, str], dict[str, str]]:
    """The lines that all gateways know, by version, and those that only some know."""
    known = {version: line for one in told for version, line in one.items()}
    everywhere = {version: line for version, line in known.items() if all(version in one for one in told)}
    return everywhere, {version: line for version, line in known.items() if version not in everywhere}


def listed(lines: Iterable[str]) -> str:
    """The value of the primary's side's parameter. A parameter is never empty. Without keys it is a comment."""
    return "\n".join(lines) or "# no key"


def _text(data: bytes) -> bytes:
    return _number(len(data)) + data


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")
