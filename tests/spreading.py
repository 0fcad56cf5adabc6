"""The order in which the workers of a full run get the files of tests."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain, zip_longest
from pathlib import Path

import pytest


def spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """`items` in a new order. The tests of a file stay together, since one worker runs them.

    Files that wait for real servers alternate with those that compute, and the quick files come last, so that no worker
    ends long before the others.
    """
    files: dict[Path, list[pytest.Item]] = defaultdict(list)
    for item in items:
        files[item.path].append(item)
    worlds, computing, quick = list[list[pytest.Item]](), list[list[pytest.Item]](), list[list[pytest.Item]]()
    for one in sorted(files.values(), key=len, reverse=True):
        if any(item.get_closest_marker("world") for item in one):
            worlds.append(one)
        else:
            (computing if any(item.get_closest_marker("slow") for item in one) else quick).append(one)
    return [*chain(*_alternating(worlds, computing)), *chain(*quick)]


def _alternating(first: list[list[pytest.Item]], second: list[list[pytest.Item]]) -> Iterable[list[pytest.Item]]:
    """One of each in turn, as long as there are both. The rest of the longer list follows."""
    return (one for pair in zip_longest(first, second) for one in pair if one)
