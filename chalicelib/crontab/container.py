"""A file of numbered slices that costs nothing to open. Each slice is read and checked at its first use.

The layout is 8 bytes of magic, the header's length and CRC-32 (little-endian, 4 bytes each), the header (JSON), and the
slices, end to end. The header holds each slice's size and CRC-32, and the digest, which is the SHA-256 of the rest of
the header and all slices.
"""

import hashlib
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

_PREFIX = struct.Struct("<8sII")


class Damaged(ValueError):
    """A file that is not what was packed, with what is wrong and what to do."""


class Header(msgspec.Struct, frozen=True):
    """The content of a file's header, with facts of its maker's choice, and each slice's size in bytes and CRC-32."""

    facts: dict[str, Any]
    sizes: list[int]
    checks: list[int]
    digest: str = ""


def pack(magic: bytes, facts: dict[str, Any], slices: Sequence[bytes]) -> bytes:
    """The file with these `slices`, whose header carries `facts` (plain JSON values)."""
    header = Header(facts, [len(part) for part in slices], [zlib.crc32(part) for part in slices])
    digest = hashlib.sha256(msgspec.json.encode(header))
    for part in slices:
        digest.update(part)
    encoded = msgspec.json.encode(msgspec.structs.replace(header, digest=digest.hexdigest()))
    return b"".join((_PREFIX.pack(magic, len(encoded), zlib.crc32(encoded)), encoded, *slices))


class Packed:
    """A packed file. `what` names it in errors."""

    def __init__(self, data: bytes, magic: bytes, what: str) -> None:
        self._what = what
        header, body = self._open(memoryview(data), magic)
        self.facts, self.digest, self._checks = header.facts, header.digest, header.checks
        self._slices: list[memoryview] = []
        for size in header.sizes:
            self._slices.append(body[:size])
            body = body[size:]

    def _open(self, data: memoryview, magic: bytes) -> tuple[Header, memoryview]:
        if data[:8] != magic:
            raise self.damaged("it does not begin as one")
        if len(data) < _PREFIX.size:
            raise self.damaged(f"it ends after {len(data)} bytes")
        _, size, check = _PREFIX.unpack_from(data)
        encoded, body = data[_PREFIX.size :][:size], data[_PREFIX.size + size :]
        if zlib.crc32(encoded) != check:
            raise self.damaged("its header is not the one that the release wrote")
        header = msgspec.json.decode(encoded, type=Header)
        if len(body) != sum(header.sizes):
            raise self.damaged(f"{len(body)} bytes follow its header instead of {sum(header.sizes)}")
        return header, body

    def damaged(self, why: str) -> Damaged:
        """The error that says so."""
        return Damaged(f"the {self._what} is of no use ({why}). Package the release again")

    def slice(self, index: int) -> memoryview:
        """Slice `index`, checked."""
        found = self._slices[index]
        if zlib.crc32(found) != self._checks[index]:
            raise self.damaged(f"slice {index} is not the one that the release wrote")
        return found

    def unchecked(self, index: int) -> memoryview:
        """Slice `index` for one who checks its parts himself."""
        return self._slices[index]
