"""Which calls a fault refuses."""

import pytest

from sandbox.faults import Faults, Rule


@pytest.mark.parametrize(("rule", "refused"), [
    (Rule("eu-west-1", "sqs:SendMessage"), True), (Rule("*", "sqs:*"), True), (Rule("*", "*"), True),
    (Rule("us-east-1", "sqs:SendMessage"), False), (Rule("*", "sqs:Send"), False), (Rule("*", "s.s:*"), False)])
def test_a_rule_matches_by_region_and_action(rule: Rule, refused: bool) -> None:
    faults = Faults()
    faults.add(rule)
    assert faults.verdict("eu-west-1", "sqs:SendMessage") == ("unavailable" if refused else "")


def test_a_rule_is_used_up() -> None:
    faults = Faults()
    faults.add(Rule("*", "a:B", "throttled", times=2))
    assert [faults.verdict("r", "a:B") for _ in range(3)] == ["throttled", "throttled", ""]


def test_clearing_leaves_stopped_regions_stopped() -> None:
    faults = Faults()
    faults.stop("r")
    faults.add(Rule("*", "*"))
    faults.lag = 1.0
    faults.clear()
    assert (faults.verdict("r", "a:B"), faults.lag, faults.stopped) == ("", 0.0, frozenset({"r"}))
    faults.start("r")
    assert faults.stopped == frozenset()


def test_calls_are_counted_by_principal_region_and_action() -> None:
    faults = Faults()
    faults.count("tick", "r", "a:B", denied=False)
    faults.count("tick", "r", "a:B", denied=True)
    assert faults.seen() == [{"principal": "tick", "region": "r", "action": "a:B", "count": 2, "denied": 1,
                               "found": []}]
    faults.forget()
    assert faults.seen() == []
