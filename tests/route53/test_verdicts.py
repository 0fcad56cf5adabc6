"""Whether a health check is healthy, row by row of docs/route53-twin.md."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.route53.checks import Check
from sandbox.route53.verdicts import AfterMove, Alarm, AlarmState, Streak, enough, verdicts

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "route53-twin.md"


def check(id: str, kind: str = "HTTP", **config: Any) -> Check:
    """A health check of which only these settings matter."""
    return Check(id, id, {"Type": kind, "Inverted": False, "Disabled": False, **config})


def streak(results: str, threshold: int) -> bool:
    """A checker's mind after these results, `+` or `-`."""
    mind = Streak()
    for result in results:
        mind = mind.after(result == "+", threshold)
    return mind.healthy


@pytest.mark.parametrize(("results", "threshold", "healthy"), [
    ("", 3, True), ("--", 3, True), ("---", 3, False), ("--+--", 3, True), ("--+---", 3, False), ("---++", 3, False),
    ("---+++", 3, True), ("---++-+++", 3, True), ("---++-++", 3, False), ("-", 1, False), ("-+", 1, True)])
def test_h1_so_many_in_a_row_change_a_mind(results: str, threshold: int, healthy: bool) -> None:
    assert streak(results, threshold) is healthy


@given(st.text("+-"), st.integers(1, 10))
def test_h1_only_the_last_full_row_counts(results: str, threshold: int) -> None:
    rows = re.findall(rf"(?=(\+{{{threshold}}}|-{{{threshold}}}))", results)
    assert streak(results, threshold) is (rows[-1][0] == "+" if rows else True)


@pytest.mark.parametrize(("living", "checkers", "healthy"), [
    (0, 8, False), (1, 8, False), (2, 8, True), (8, 8, True), (18, 100, False), (19, 100, True), (0, 3, False),
    (1, 3, True)])
def test_h2_more_than_18_percent_are_enough(living: int, checkers: int, healthy: bool) -> None:
    assert enough([True] * living + [False] * (checkers - living)) is healthy


@pytest.mark.parametrize(("inverted", "healthy"), [(False, True), (True, False)])
def test_h3_a_new_one_is_healthy_and_a_new_inverted_one_is_not(inverted: bool, healthy: bool) -> None:
    for minds in ({}, {"a": [Streak().healthy] * 8}):
        assert verdicts([check("a", Inverted=inverted)], minds, {}) == {"a": healthy}


CHILDREN = [check("a"), check("b"), check("c", Inverted=True), check("d", Disabled=True)]


@pytest.mark.parametrize(("threshold", "dead", "healthy"), [
    (0, "abd", True), (1, "abd", True), (2, "abd", False), (3, "abd", False), (3, "bcd", True), (3, "bd", False),
    (4, "cd", True), (4, "d", False), (5, "cd", False)])
def test_h4_children_are_counted_with_inversion_and_disabling(threshold: int, dead: str, healthy: bool) -> None:
    parent = check("p", "CALCULATED", HealthThreshold=threshold, ChildHealthChecks=list("abcd"))
    minds = {id: [id not in dead] for id in "abcd"}
    # Whatever the order: a parent may come before its children.
    assert verdicts([parent, *CHILDREN], minds, {})["p"] is healthy
    assert verdicts([*CHILDREN, parent], minds, {})["p"] is healthy


def test_h4_a_child_that_is_gone_is_not_healthy() -> None:
    assert verdicts([check("p", "CALCULATED", HealthThreshold=1, ChildHealthChecks=["x"])], {}, {}) == {"p": False}


@pytest.mark.parametrize(("states", "instead", "healthy"), [
    (["OK"], None, True), (["ALARM"], None, False), (["OK", "ALARM"], "Healthy", False), ([], None, True),
    ([], "Unhealthy", False), ([], "Healthy", True), (["ALARM", "INSUFFICIENT_DATA"], "LastKnownStatus", False),
    (["OK", "INSUFFICIENT_DATA"], "LastKnownStatus", True), (["ALARM", "INSUFFICIENT_DATA"], "Healthy", True),
    (["ALARM", "INSUFFICIENT_DATA", "INSUFFICIENT_DATA"], None, False),
    (["OK", "INSUFFICIENT_DATA"], "Unhealthy", False)])
def test_h5_an_alarm_decides(states: list[AlarmState], instead: str | None, healthy: bool) -> None:
    alarm = Alarm()
    for state in states:
        alarm = alarm.now(state)
    extra = {"InsufficientDataHealthStatus": instead} if instead else {}
    metric = check("m", "CLOUDWATCH_METRIC", AlarmIdentifier={"Region": "r", "Name": "n"}, **extra)
    assert verdicts([metric], {}, {("r", "n"): alarm} if states else {}) == {"m": healthy}


@pytest.mark.parametrize(("disabled", "inverted", "passing", "healthy"), [
    (True, False, False, True), (True, False, True, True), (True, True, True, False), (True, True, False, False)])
def test_h6_a_disabled_one_is_healthy(disabled: bool, inverted: bool, passing: bool, healthy: bool) -> None:
    assert verdicts([check("a", Disabled=disabled, Inverted=inverted)], {"a": [passing]}, {}) == {"a": healthy}


@pytest.mark.parametrize("passing", [True, False])
def test_h7_an_inverted_one_is_the_opposite(passing: bool) -> None:
    for kind, more in (("HTTP", {}), ("CALCULATED", {"HealthThreshold": 1, "ChildHealthChecks": ["b"]})):
        found = verdicts([check("b"), check("a", kind, Inverted=True, **more)], {"a": [passing], "b": [passing]}, {})
        assert found["a"] is not passing


@pytest.mark.parametrize(("how", "after"), [
    ("carry", {True: True, False: False}), ("healthy", {True: True, False: True}),
    ("unhealthy", {True: False, False: False})])
def test_h8_a_new_target_starts_as_chosen(how: AfterMove, after: dict[bool, bool]) -> None:
    assert how in get_args(AfterMove)
    assert {mind: Streak(mind, 2).moved(how) for mind in (True, False)} == {
        mind: Streak(healthy, 0) for mind, healthy in after.items()}


def test_every_rule_of_the_page_has_a_test_here() -> None:
    told = set(re.findall(r"^\| (H\d+) \|", PAGE.read_text(), re.M))
    assert told == {f"H{name[6:].split('_')[0]}" for name in globals() if name.startswith("test_h")}
