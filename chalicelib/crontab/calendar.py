"""The days, and the minutes of a day, that match an expression. It uses bit sets and arithmetic, without a loop over
minutes.

Days are counted from 1970-01-01 (day 0, a Thursday) and may be negative.
"""

from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from itertools import compress, count
from typing import NamedTuple

from chalicelib.crontab.expression import Expression

_EPOCH = date(1970, 1, 1).toordinal()
FULL_DAY = (1 << 1440) - 1
# One bit in so many, and looking at each is faster than searching for the next.
_DENSE = 14
_TRUTH = bytes.maketrans(b"0", b"\0")


class _Calendar(NamedTuple):
    """The days of each value of a field. Bit d is day `first + d`."""

    dom: tuple[int, ...]
    month: tuple[int, ...]
    dow: tuple[int, ...]


@lru_cache(64)
def _calendar(first: int, count: int) -> _Calendar:
    dom, month, dow = [0] * 32, [0] * 13, [0] * 7
    for index in range(count):
        day = date.fromordinal(_EPOCH + first + index)
        dom[day.day] |= 1 << index
        month[day.month] |= 1 << index
        dow[day.isoweekday() % 7] |= 1 << index
    return _Calendar(tuple(dom), tuple(month), tuple(dow))


def bits(mask: int) -> Iterator[int]:
    """The numbers of the bits set in a non-negative `mask`, lowest first. Takes time by width, not its square."""
    digits = bin(mask)[:1:-1]
    if mask.bit_count() * _DENSE > len(digits):
        return compress(count(), digits.encode().translate(_TRUTH))
    return _found(digits)


def _found(digits: str) -> Iterator[int]:
    at = digits.find("1")
    while at >= 0:
        yield at
        at = digits.find("1", at + 1)


def days(expression: Expression, first: int, count: int) -> int:
    """The matching days among `count` days from day `first` on. Bit d is day `first + d`.

    If day-of-month or day-of-week starts with `*`, both must match. Else one of the two is enough (Debian's rule).
    """
    e = expression
    return _days(e.month, e.dom, e.dow, e.both_days, first, count)


@lru_cache(8192)
def _days(month: int, dom: int, dow: int, both: bool, first: int, count: int) -> int:
    calendar = _calendar(first, count)
    by_dom, by_dow = _union(calendar.dom, dom), _union(calendar.dow, dow)
    return _union(calendar.month, month) & (by_dom & by_dow if both else by_dom | by_dow)


def _union(sets: tuple[int, ...], mask: int) -> int:
    found = 0
    for value in bits(mask):
        found |= sets[value]
    return found


def minutes(expression: Expression) -> int:
    """The matching minutes of a day. Bit 60 * hour + minute."""
    return minutes_of(expression.minute, expression.hour)


@lru_cache(8192)
def minutes_of(minute: int, hour: int) -> int:
    """`minutes` of an expression with these two fields."""
    return sum(minute << (60 * value) for value in bits(hour))


def matches(expression: Expression, local: int) -> bool:
    """Whether local minute `local` matches."""
    return unmatched(expression, local) is None


def unmatched(expression: Expression, local: int) -> str | None:
    """The first field that does not match local minute `local`, which is `minute`, `hour`, `month` or `day`, or None if
    all do."""
    day, minute = divmod(local, 1440)
    when = date.fromordinal(_EPOCH + day)
    checks = {
        "minute": expression.minute >> (minute % 60),
        "hour": expression.hour >> (minute // 60),
        "month": expression.month >> when.month,
        "day": _on(expression, when),
    }
    return next((field for field, bit in checks.items() if not bit & 1), None)


def _on(expression: Expression, when: date) -> int:
    by_dom, by_dow = expression.dom >> when.day & 1, expression.dow >> when.isoweekday() % 7 & 1
    return by_dom & by_dow if expression.both_days else by_dom | by_dow
