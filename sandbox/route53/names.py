"""DNS names as Route 53 writes them: lower case, a dot at the end, `*` for a leading `\\052`.

Source: "DNS domain name format" in the Route 53 developer guide, and the sort order of ListResourceRecordSets.
"""

import re
from functools import lru_cache

_OCTAL = re.compile(r"\\([0-3][0-7]{2})")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


@lru_cache(maxsize=65_536)
def normal(name: str) -> str:
    """`WWW.Example.com` and `www.example.com.` are the same name: `www.example.com.`; `\\052.x` is `*.x.`."""
    plain = _OCTAL.sub(lambda found: chr(int(found[1], 8)), name).lower()
    return plain if plain.endswith(".") else plain + "."


def written(name: str) -> str:
    """The name as the API lists it, with all but letters, digits, `-`, `_` and dots as octal escapes."""
    return "".join(char if char in _PLAIN else f"\\{ord(char):03o}" for char in normal(name))


def reversed_labels(name: str) -> str:
    """The sort key of ListResourceRecordSets. `www.example.com.` is `com.example.www.`."""
    return ".".join(reversed(written(name).rstrip(".").split("."))) + "."


def lies_in(name: str, zone: str) -> bool:
    """Whether `name` is `zone` or below it."""
    return normal(name) == normal(zone) or normal(name).endswith("." + normal(zone))


def wildcards(name: str) -> list[tuple[str, str]]:
    """Each name above `name` with its wildcard, nearest first, as in `("b.c.", "*.b.c.")`."""
    labels = normal(name).rstrip(".").split(".")
    above = [".".join(labels[start:]) + "." for start in range(1, len(labels))]
    return [(parent, "*." + parent) for parent in above]
