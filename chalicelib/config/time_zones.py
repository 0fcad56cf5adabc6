"""The names in the pinned tz database, without its times, which are enough for fleet.toml."""

from functools import cache


@cache
def names() -> frozenset[str]:
    """The names of all zones, spelled exactly."""
    from importlib import resources  # not every Lambda asks, and it costs each of them 4 ms

    return frozenset(resources.files("tzdata").joinpath("zones").read_text("ascii").split())


def wrong(name: str) -> str:
    """Why `name` is no zone, and what to write instead. Empty if it is one."""
    return "" if name in names() else f"unknown time zone {name[:100]!r}: {_remedy(name)}"


def _remedy(name: str) -> str:
    from difflib import get_close_matches

    lowered = {known.lower(): known for known in names()}
    near = get_close_matches(name.lower()[:100], lowered, 1)
    return f"write {lowered[near[0]]}" if near else "write it as in Europe/Stockholm or UTC"
