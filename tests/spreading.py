"""Which tests run on one worker, and in which order the workers get them."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain, zip_longest

import pytest


def spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """`items` in a new order, each with the mark `xdist_group` of its group.

    Groups that wait for real servers alternate with those that compute, and the quick files come last, so that no
    worker ends long before the others.
    """
    groups: dict[str, list[pytest.Item]] = defaultdict(list)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    for item in items:
        name = group(item)
        item.add_marker(pytest.mark.xdist_group(name))
        groups[name].append(item)
    worlds, computing, quick = list[list[pytest.Item]](), list[list[pytest.Item]](), list[list[pytest.Item]]()
    for one in sorted(groups.values(), key=len, reverse=True):
        if any(item.get_closest_marker("world") for item in one):
            worlds.append(one)
        else:
            (computing if one[0].path in slow else quick).append(one)
    return [*chain(*_alternating(worlds, computing)), *chain(*quick)]


def group(item: pytest.Item) -> str:
    """The group's name. The tests of a file run on one worker, and so do all that share a fixture of the session.

    A slow test that shares none is a group of its own.
    """
    scopes = set(_shared(item))
    if "session" in scopes:
        return "session"
    alone = item.get_closest_marker("slow") and not scopes
    return item.nodeid.replace("@", "") if alone else str(item.path)


def _shared(item: pytest.Item) -> Iterable[str]:
    """The scopes of our own fixtures that outlive a test. Those of plugins have no base."""
    info = getattr(item, "_fixtureinfo", None)
    for definitions in info.name2fixturedefs.values() if info else ():
        yield from (one.scope for one in definitions if one.baseid and one.scope != "function")


def _alternating(first: list[list[pytest.Item]], second: list[list[pytest.Item]]) -> Iterable[list[pytest.Item]]:
    """One of each in turn, as long as there are both. The rest of the longer list follows."""
    return (one for pair in zip_longest(first, second) for one in pair if one)
