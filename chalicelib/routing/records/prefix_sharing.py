"""Ordered lists of regions as pairs of shorter lists, split so that equal parts are shared.

A pair of failover records puts one list before another. `(a b)` before `(c d)` is the list `a b c d`. A list that many
orders need is made once. Each list of two or more regions costs one pair, that is two record sets.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, log2

from chalicelib.geography import Order

# Every level of pairs is one alias for Route 53 to follow; three levels hold eight regions.
LEVELS = 3
_ROUNDS = 6

Splits = Mapping[Order, int]


def share(orders: Iterable[Order]) -> dict[Order, int]:
    """All lists to be made for `orders`, each with the length of its first part.

    Begins with halves, then lets one order after the other choose anew what costs least beside all others, until
    nothing gets any cheaper. The same orders always give the same lists.
    """
    wanted = sorted({order for order in orders if len(order) > 1})
    chosen: dict[Order, dict[Order, int]] = {order: _halves(order) for order in wanted}
    best = _merged(chosen.values())
    for _ in range(_ROUNDS):
        for order in wanted:
            others = _merged(splits for other, splits in chosen.items() if other != order)
            chosen[order] = _cheapest(order, others, {})
        found = _used(wanted, _merged(chosen.values()))
        if len(found) >= len(best):
            break
        best = found
    return best


def parts(order: Order, splits: Splits) -> tuple[Order, Order]:
    """The two lists of which `order` is made."""
    return order[:splits[order]], order[splits[order]:]


def levels(order: Order, splits: Splits) -> int:
    """How many pairs lie one below the other in `order`."""
    return 1 + max(levels(part, splits) for part in parts(order, splits)) if len(order) > 1 else 0


def _halves(order: Order) -> dict[Order, int]:
    middle = (len(order) + 1) // 2
    if len(order) < 2:
        return {}
    return {order: middle, **_halves(order[:middle]), **_halves(order[middle:])}


def _merged(several: Iterable[Splits]) -> dict[Order, int]:
    found: dict[Order, int] = {}
    for splits in several:
        for order, at in splits.items():
            found.setdefault(order, at)
    return found


def _used(wanted: Iterable[Order], splits: Splits) -> dict[Order, int]:
    return _merged({order: splits[order], **_below(order, splits)} for order in wanted)


def _cheapest(order: Order, there: Splits, known: dict[Order, dict[Order, int]], top: bool = True) -> dict[Order, int]:
    """The lists that make `order`, as few as possible of them not `there` yet."""
    if len(order) < 2:
        return {}
    if order in there:
        return {order: there[order], **_below(order, there)}
    if order not in known:
        ways = [{order: at, **_cheapest(order[:at], there, known, False), **_cheapest(order[at:], there, known, False)}
                for at in _places(len(order), top)]
        known[order] = min(ways, key=lambda way: sum(one not in there for one in way))
    return known[order]


def _below(order: Order, splits: Splits) -> dict[Order, int]:
    found: dict[Order, int] = {}
    for part in parts(order, splits):
        if len(part) > 1:
            found |= {part: splits[part], **_below(part, splits)}
    return found


def _places(length: int, top: bool) -> Sequence[int]:
    """The places where a list may split without more levels than necessary. A whole order may use them all."""
    allowed = max(LEVELS, _least(length)) if top else _least(length)
    middle = (length + 1) // 2
    found = [at for at in range(1, length) if max(_least(at), _least(length - at)) < allowed]
    return sorted(found, key=lambda at: (abs(at - middle), at))


def _least(length: int) -> int:
    return ceil(log2(length)) if length > 1 else 0
