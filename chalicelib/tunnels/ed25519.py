"""The public key of an Ed25519 private key (RFC 8032, section 5.1.5), for a Lambda, whose Python can make none.

Nothing is signed here, and nothing is derived twice from one key: what a stop-watch might learn from Python's integers
needs many tries with the same one. Why it is made in Lambda at all: docs/decisions/tunnel-keys.md.
"""

import hashlib

# The curve -x^2 + y^2 = 1 + d x^2 y^2 over the integers modulo p, and its base point (section 5.1).
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
BASE = (15112221349535400772501151409588531511454012693041857206046113283949847762202, 4 * pow(5, -1, P) % P)

# A point as (X, Y, Z, T): x = X/Z, y = Y/Z, x*y = T/Z; adding two of these needs no division.
Point = tuple[int, int, int, int]


def public(seed: bytes) -> bytes:
    """The 32 bytes of the public key that belongs to the 32 bytes of a private one."""
    if len(seed) != 32:
        raise ValueError(f"a private key has 32 bytes, not {len(seed)}")
    scalar = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    # The lowest three bits are cleared, the highest but one is set.
    scalar = scalar & ((1 << 254) - 8) | 1 << 254
    x, y, z, _ = _times(scalar, (*BASE, 1, BASE[0] * BASE[1] % P))
    inverse = pow(z, -1, P)
    return (y * inverse % P | (x * inverse % P & 1) << 255).to_bytes(32, "little")


def _times(scalar: int, point: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    for _ in range(255):
        if scalar & 1:
            total = _sum(total, point)
        point = _sum(point, point)
        scalar >>= 1
    return total


def _sum(one: Point, other: Point) -> Point:
    """Section 5.1.4. Complete: it also doubles."""
    low = (one[1] - one[0]) * (other[1] - other[0]) % P
    high = (one[1] + one[0]) * (other[1] + other[0]) % P
    twist = 2 * D * one[3] * other[3] % P
    scale = 2 * one[2] * other[2] % P
    e, f, g, h = high - low, scale - twist, scale + twist, high + low
    return e * f % P, g * h % P, f * g % P, e * h % P
