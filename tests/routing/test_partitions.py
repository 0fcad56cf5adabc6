"""No partition of the network keeps healthy regions away: each reachability of up to five regions, exhaustively.

Regions look at each other's endpoints over a network with broken links, and share their reports in one table that some
cannot reach. All decide at the same moment, which is the worst order for those that rely on each other.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import pytest

from chalicelib.engine.schema import Stored
from chalicelib.routing import decide
from chalicelib.routing.state import EndpointReport, EvacuationFlag, FleetObservation, RegionHealth, RegionObservation

NOW = 10_000
HELD = EvacuationFlag("hold_down", 1)
# Whom each region reaches.
Reach = Sequence[frozenset[int]]
Some = frozenset[int]


def subsets(members: Sequence[int]) -> Iterator[Some]:
    for size in range(len(members) + 1):
        yield from map(frozenset, combinations(members, size))


def partitions(members: Sequence[int]) -> Iterator[list[Some]]:
    """Every way to divide `members` into groups that reach only themselves."""
    if not members:
        yield []
        return
    first, rest = members[0], members[1:]
    for company in subsets(rest):
        for others in partitions([each for each in rest if each not in company]):
            yield [company | {first}, *others]


def graphs(count: int) -> Iterator[Reach]:
    """Every set of links between `count` regions. A link works in both directions."""
    for links in subsets(range(count * (count - 1) // 2)):
        reach = [{region} for region in range(count)]
        for number, (one, other) in enumerate(combinations(range(count), 2)):
            if number in links:
                reach[one].add(other)
                reach[other].add(one)
        yield list(map(frozenset, reach))


def flags_set(
    reach: Reach, table: Some, *, dead: Some = frozenset(), marked: Some = frozenset(), minimum: int = 1,
    s3: bool = False,
) -> tuple[Some, Some]:
    """The regions that get a flag, and those that lose theirs, when every living region runs `routing.hold` once.

    `table` are the regions that reach the coordination table, `marked` those held down before. Each failure to answer
    is the third in a row. The next region keeps a region's flag. With `s3` all buckets answer, whatever the links.
    """
    count = len(reach)
    unhealthy = [frozenset(range(count)) - reach[here] | dead for here in range(count)]
    reports = {str(here): EndpointReport(NOW, tuple(map(str, sorted(unhealthy[here])))) for here in table - dead}
    found: dict[str, set[int]] = {"set-evacuation-flag": set(), "clear-evacuation-flag": set()}
    for here in set(range(count)) - dead:
        regions = [_seen(region, region not in unhealthy[here], region in marked,
                         flag_known=s3 or (region + 1) % count in reach[here] - dead) for region in range(count)]
        others = {name: report for name, report in reports.items() if name != str(here)} if here in table else None
        seen = FleetObservation(regions, 600, (str((here - 1) % count),), here=str(here), at=NOW, reports=others,
                                minimum=minimum)
        for action in decide.hold(seen, NOW).actions:
            if action.kind in found:
                found[action.kind].add(int(action.target))
    return frozenset(found["set-evacuation-flag"]), frozenset(found["clear-evacuation-flag"])


def _seen(region: int, alive: bool, marked: bool, *, flag_known: bool) -> RegionObservation:
    health = RegionHealth(healthy_since=NOW) if alive else RegionHealth(2, failed_at=NOW - 60)
    return RegionObservation(str(region), alive, HELD if marked and flag_known else None, flag_known, Stored(health, 1))


def check(
    reach: Reach, table: Some, *, dead: Some = frozenset(), marked: Some = frozenset(), minimum: int = 1,
    s3: bool = False,
) -> Some:
    """The regions that are held down. Each by a majority, and enough of the others serve."""
    down, back = flags_set(reach, table, dead=dead, marked=marked, minimum=minimum, s3=s3)
    count, world = len(reach), (reach, table, dead, marked, minimum)
    for region in down:
        against = [here for here in range(count) if here not in dead and (region in dead or region not in reach[here])]
        assert 2 * len(against) > count or (count == 2 and region in dead), world
    if down:
        serving = (set(range(count)) - marked - down | back) - dead
        assert len(serving) >= minimum, world
    return down


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_each_partition_with_each_table_and_each_set_of_flags_leaves_enough_regions(count: int) -> None:
    """Regions that reach only themselves, of which only a majority holds others down, and nobody within it."""
    everybody = frozenset(range(count))
    seen = 0
    for groups in partitions(range(count)):
        reach = [next(group for group in groups if region in group) for region in range(count)]
        # The table answers everybody, nobody, or one of the groups, as it lies in one of them.
        for table in {everybody, frozenset[int](), *groups}:
            for minimum in range(1, count):
                down = check(reach, table, minimum=minimum)
                biggest = max(groups, key=len)
                if 2 * len(biggest) > count and table in (everybody, biggest):
                    kept = {region for region in everybody if (region + 1) % count in biggest}
                    assert not down & biggest
                    if len(biggest & kept) >= minimum:
                        assert down == kept - biggest
                elif table != everybody:
                    assert not down
            for marked in subsets(range(count)):
                check(reach, table, marked=marked)
                seen += 1
    assert seen > 2 ** count


@pytest.mark.parametrize("count", [2, 3, 4, pytest.param(5, marks=pytest.mark.slow)])
def test_each_set_of_broken_links_leaves_enough_regions(count: int) -> None:
    """Also where one region reaches two that do not reach each other."""
    everybody = frozenset(range(count))
    for reach in graphs(count):
        for minimum in range(1, count):
            check(reach, everybody, minimum=minimum, s3=True)
        for table in (everybody, everybody - {0}, frozenset[int]()):
            check(reach, table, s3=not table)


@pytest.mark.parametrize("count", [3, 4, 5])
def test_each_set_of_dead_regions_leaves_enough_and_a_dead_minority_is_held_down(count: int) -> None:
    """The network is whole. A dead region's flags are unreadable, and whose keeper is dead stays as it is."""
    everybody = frozenset(range(count))
    for dead in subsets(range(count)):
        for minimum in range(1, count):
            down = check([everybody] * count, everybody - dead, dead=dead, minimum=minimum)
            assert down <= dead
            sure = [region for region in everybody - dead if (region + 1) % count not in dead]
            if 2 * len(everybody - dead) > count and len(sure) >= minimum:
                assert down == {region for region in dead if (region + 1) % count not in dead}


def test_three_healthy_regions_that_reach_only_themselves_hold_nobody_down() -> None:
    alone = [frozenset({region}) for region in range(3)]
    for table in subsets(range(3)):
        assert flags_set(alone, table) == (frozenset(), frozenset())


def test_one_broken_path_between_two_healthy_regions_holds_neither_down() -> None:
    assert flags_set([frozenset({0, 2}), frozenset({1, 2}), frozenset({0, 1, 2})], frozenset(range(3))) == (
        frozenset(), frozenset())
