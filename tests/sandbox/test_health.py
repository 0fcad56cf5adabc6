"""Whether a target is healthy: every transition, by tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.compute.health import HEALTHY, INITIAL, UNHEALTHY, Health, Verdict, judge, matches

UP, DOWN = Verdict(True), Verdict(False, "Target.Timeout", "Request timed out")


def states(pattern: str, rise: int = 3, fall: int = 2) -> str:
    """The first letter of the state after each probe of `pattern` (`+` passed, `-` failed)."""
    health, found = Health(), ""
    for sign in pattern:
        health = judge(health, UP if sign == "+" else DOWN, rise, fall)
        found += health.state[0]
    return found


@pytest.mark.parametrize(("pattern", "expected"), [
    ("+", "h"),                   # one success is enough for a new target
    ("-+", "ih"),
    ("--", "iu"),                 # and `fall` failures in a row make it unhealthy
    ("+-+-", "hhhh"),             # single failures of a healthy one do not count together
    ("+--", "hhu"),
    ("--++", "iuuu"),
    ("--+++", "iuuuh"),           # `rise` successes in a row bring it back
    ("--++-+++", "iuuuuuuh"),
])
def test_transitions(pattern: str, expected: str) -> None:
    assert states(pattern) == expected


def test_reasons_are_those_of_the_api() -> None:
    assert Health().reason == "Elb.RegistrationInProgress"
    first = judge(Health(), DOWN, 3, 2)
    assert (first.state, first.reason) == (INITIAL, "Elb.InitialHealthChecking")
    second = judge(first, DOWN, 3, 2)
    assert (second.state, second.reason, second.text) == (UNHEALTHY, "Target.Timeout", "Request timed out")
    other = judge(second, Verdict(False, "Target.FailedHealthChecks", "x"), 3, 2)
    assert other.reason == "Target.FailedHealthChecks"
    assert judge(Health(), UP, 3, 2) == Health(HEALTHY, "", "")


@given(st.text("+-", max_size=30), st.integers(2, 10), st.integers(2, 10))
def test_the_last_run_of_equal_probes_decides(pattern: str, rise: int, fall: int) -> None:
    assert states(pattern + "+" * rise, rise, fall)[-1] == "h"
    assert states(pattern + "-" * fall, rise, fall)[-1] == "u"


@pytest.mark.parametrize(("code", "matcher", "expected"), [
    (200, "200", True), (201, "200", False), (299, "200-299", True), (300, "200-299", False),
    (202, "200,202", True), (301, "200-299,301", True), (404, "200-299,301", False)])
def test_matchers(code: int, matcher: str, expected: bool) -> None:
    assert matches(code, matcher) is expected
