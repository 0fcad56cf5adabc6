"""The twin of Route 53 made wrong in one rule, so that whoever tests Route 53 must find it."""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

import pytest

from sandbox.route53 import answers, groups, service, verdicts
from sandbox.route53.answers import Zone
from sandbox.route53.groups import Query, Record

_healthy, _equals, _prepare, _portions = Zone._healthy, Zone._equals, groups.prepare, groups.portions
_raw, _verdicts = verdicts._raw, verdicts.verdicts
Prepared = Callable[[Query], Any]


def alias_check_ignored(self: Zone, record: Record, *rest: Any) -> bool:
    """An alias's own health check does not count."""
    return _healthy(self, {**record, "HealthCheckId": None} if "AliasTarget" in record else record, *rest)


def _evaluating(record: Record, evaluate: bool) -> Record:
    if "AliasTarget" not in record:
        return record
    return {**record, "AliasTarget": {**record["AliasTarget"], "EvaluateTargetHealth": evaluate}}


def target_ignored(self: Zone, record: Record, *rest: Any) -> bool:
    """An alias counts as healthy, whatever it leads to."""
    return _healthy(self, _evaluating(record, False), *rest)


def target_always(self: Zone, record: Record, *rest: Any) -> bool:
    """An alias is as healthy as its target even without EvaluateTargetHealth."""
    return _healthy(self, _evaluating(record, True), *rest)


def alone_ignored(self: Zone, record: Record, query: Query, key: Any, *rest: Any) -> bool:
    """The health check of a weighted record set that is alone in its group does not count."""
    single = "Weight" in record and len(self._tiers[key](query)[0]) == 1
    return _healthy(self, {**record, "HealthCheckId": None} if single else record, query, key, *rest)


def shallow(self: Zone, record: Record, query: Query, key: Any, alive: Any, depth: int = 0) -> bool:
    """Three aliases deep nobody looks at health any more."""
    return depth > 2 or _healthy(self, record, query, key, alive, depth)


def last_resort(self: Zone, key: Any, query: Query, alive: Any) -> tuple[list[Record], bool]:
    """With nothing healthy, the last candidate answers."""
    found, good = _equals(self, key, query, alive)
    return (found, good) if good or not found else (list(self._tiers[key](query)[-1]), False)


def _backwards(field: str) -> Callable[[Any], Prepared]:
    def prepare(group: Any) -> Prepared:
        found = _prepare(group)
        return (lambda query: found(query)[::-1]) if field in group[0] else found
    return prepare


def zero_never(group: Any) -> Prepared:
    """A weight of zero is never used."""
    found = _prepare(group)
    return (lambda query: found(query)[:1]) if "Weight" in group[0] else found


def equal_shares(equals: list[Record]) -> Iterable[tuple[Fraction, list[Record]]]:
    """Weights do not count."""
    return _portions([{**record, "Weight": 1} for record in equals])


def any_child(check: Any, *rest: Any) -> bool:
    """A calculated check is healthy if any child is."""
    config = {**check.config, "HealthThreshold": 1} if check.kind == "CALCULATED" else check.config
    return _raw(type(check)(check.id, check.reference, config), *rest)


def disabled_is_healthy(checks: Any, *rest: Any) -> dict[str, bool]:
    """A disabled check is healthy even if it is inverted."""
    known = list(checks)
    found = _verdicts(known, *rest)
    return {check.id: bool(check.config["Disabled"]) or found[check.id] for check in known}


# By the rule that is broken: where, what, and by what it is replaced.
RULES: Mapping[str, tuple[Any, str, Any]] = {
    "R7 check of an alias": (Zone, "_healthy", alias_check_ignored),
    "R7 without evaluation": (Zone, "_healthy", target_always),
    "R8 target": (Zone, "_healthy", target_ignored),
    "R8 group of one": (Zone, "_healthy", alone_ignored),
    "R8 depth": (Zone, "_healthy", shallow),
    "R2": (Zone, "_equals", last_resort),
    "R4": (answers, "prepare", _backwards("GeoLocation")),
    "R12": (answers, "prepare", _backwards("Failover")),
    "R5 zero": (answers, "prepare", zero_never),
    "R5 shares": (groups, "portions", equal_shares),
    "H4": (verdicts, "_raw", any_child),
    "H7": (service, "verdicts", disabled_is_healthy),
}


def break_rule(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    """From now on the twin is wrong in this one."""
    where, name, wrong = RULES[rule]
    monkeypatch.setattr(where, name, wrong)
