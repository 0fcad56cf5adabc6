"""Durations as people write them in fleet.toml, crontab policies and calls, such as `30s`, `10m`, `2h`, `1d` and
`1h30m`."""

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WHOLE = re.compile(r"(?:\d{1,9}[smhd])+")
_PART = re.compile(r"(\d+)([smhd])")


def seconds(text: str) -> int:
    """The span `text` in whole seconds. `ValueError` says what a span looks like."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a span of time. Write whole numbers with units, as in 30s, 10m or 1h30m")
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def words(total: int) -> str:
    """`total` seconds as the shortest exact text that `seconds` reads back. 5400 gives `1h30m`."""
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, total = divmod(total, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


class Duration(int):
    """A span of time in whole seconds, written `30s`, `10m`, `2h`."""


def duration(kind: type, value: object) -> object:
    """A value of fleet.toml that is a `Duration`, for `msgspec.convert`."""
    if kind is Duration and isinstance(value, str):
        return Duration(seconds(value))
    raise ValueError(f"expected a span of time in quotes, as in \"10m\", got {value!r}")
