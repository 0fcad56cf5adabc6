"""What became of the demo's users, by the moments they told."""

from collections.abc import Sequence

import pytest

from commands.demo.users import Fate, fates, settled
from sandbox.users import Moment

ORDERS = {"SE": ("eu", "us"), "US": ("us", "eu")}
DIED, REVIVED, END = 100.0, 200.0, 300.0


def moments(who: str, *told: tuple[float, str]) -> list[Moment]:
    return [Moment(who, at, region, sent=10 * number, failed=number) for number, (at, region) in enumerate(told, 1)]


@pytest.mark.parametrize(("told", "found"), [
    # Its region dies; the next one answers 30 s later, and its own 40 s after it is back.
    (moments("SE", (0, "eu"), (100.2, ""), (130.2, "us"), (240, "eu")), Fate("SE", "eu", "us", 30.0, 40.0, 0.0, 40, 4)),
    # Two failures of other times are not the death's.
    (moments("SE", (0, "eu"), (50, ""), (52, "eu"), (100.2, ""), (130.2, "us"), (240, ""), (243, "eu")),
     Fate("SE", "eu", "us", 30.0, 43.0, 5.0, 70, 7)),
    # Nobody ever answers it again.
    (moments("SE", (0, "eu"), (100.2, "")), Fate("SE", "eu", "us", 199.8, None, 0.0, 20, 2)),
    # Another region's death is nothing to it.
    (moments("US", (0, "us")), Fate("US", "us", "eu", 0.0, None, 0.0, 10, 1)),
    (moments("US", (0, "us"), (101, ""), (103, "us")), Fate("US", "us", "eu", 0.0, None, 2.0, 30, 3))])
def test_a_users_fate(told: Sequence[Moment], found: Fate) -> None:
    assert fates(told, ORDERS, "eu", DIED, REVIVED, END) == [found]  # and the other, of whom nothing is known, has none


@pytest.mark.parametrize(("now", "away", "wanted"), [
    ({"SE": "eu", "US": "us"}, (), True), ({"SE": "us", "US": "us"}, (), False), ({"SE": "eu"}, (), False),
    ({"SE": "us", "US": "us"}, ("eu",), True)])
def test_users_are_settled_where_their_order_says(now: dict[str, str], away: tuple[str, ...], wanted: bool) -> None:
    assert settled(now, ORDERS, away) is wanted
