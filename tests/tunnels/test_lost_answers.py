"""One lost answer for each external call of each operation: nothing is doubled, lost, or silent."""

from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.aws.client import Unavailable
from chalicelib.aws.ssm import Invocation
from chalicelib.engine.operation import RunFailed
from chalicelib.tunnels.controller import Controller
from chalicelib.tunnels.state import PEER_REPORT_PK, PRIMARY_REFRESH_SECONDS
from testing.lost_answers import Calls, check_every_lost_answer
from tests.tunnels.harness import A, B, Yard, fails
from tests.tunnels.test_primary import AWAY, HOME, HOSTS, connected, move

FAILS = (RunFailed, Unavailable)


def steady(more: str = "") -> Yard:
    """Two endpoints that have worked for a while."""
    yard = Yard(more)
    yard.says |= {A: HOME, B: HOME}
    yard.rounds(8)
    return yard


def restarts_work(yard: Yard) -> None:
    """A restart that takes effect mends what was broken."""

    def changed(change: str, subject: str) -> None:
        if change == "command":
            yard.aws.commands[subject].invocation = Invocation("Success", "Success")
            yard.sides[yard.aws.commands[subject].instance] = ("up", "answered")

    yard.aws.on_change = changed


@pytest.mark.slow
def test_a_repair_restarts_once_and_lets_in() -> None:
    def scenario(calls: Calls) -> None:
        yard = steady()
        restarts_work(yard)
        fails(yard, 2)
        with calls.counted(), suppress(*FAILS):
            yard.round(context=calls.wrap_context(yard.context))
        yard.rounds(80)
        assert len(yard.aws.commands) == 1 and yard.told() == []
        assert yard.member(A).phase == "healthy" and yard.target(A) == "registered"

    assert len(check_every_lost_answer(scenario)) > 30


@pytest.mark.slow
def test_a_replacement_terminates_once() -> None:
    def scenario(calls: Calls) -> None:
        yard = steady()
        fails(yard, 72)
        terminated: list[str] = []
        yard.aws.on_change = lambda change, subject: terminated.append(subject) if change == "terminating" else None
        with calls.counted(), suppress(*FAILS):
            yard.round(context=calls.wrap_context(yard.context))
        # A termination that was lost is asked for again once it should have come; never of a second instance.
        yard.rounds(200)
        assert terminated == [A] and yard.target(B) == "registered"

    assert len(check_every_lost_answer(scenario)) > 25


@pytest.mark.slow
def test_what_has_recovered_goes_back() -> None:
    def scenario(calls: Calls) -> None:
        yard = steady()
        restarts_work(yard)
        fails(yard, 7)
        with calls.counted(), suppress(*FAILS):
            yard.round(context=calls.wrap_context(yard.context))
        yard.rounds(8)
        assert yard.target(A) == "registered" and yard.member(A).phase == "healthy" and len(yard.aws.commands) == 1

    assert len(check_every_lost_answer(scenario)) > 20


@pytest.mark.slow
def test_people_hear_within_one_interval_that_the_primary_is_unreachable() -> None:
    def scenario(calls: Calls) -> None:
        yard = steady()
        yard.sides[A] = yard.sides[B] = ("far", "closed")
        yard.rounds(23)
        assert yard.told() == []
        with calls.counted(), suppress(*FAILS):
            yard.round(context=calls.wrap_context(yard.context))
        first = len(yard.told())
        yard.rounds(1)
        # A run that was to publish and wrote nothing down is given 10 s to be still at it.
        yard.rounds(5)
        told = yard.told()
        assert 1 <= len(told) <= 2 and set(told) == {"PrimaryUnreachable: eu-west-1"} and first <= 1
        yard.rounds(60)
        assert yard.told() == told and yard.changes() == []

    assert len(check_every_lost_answer(scenario)) > 15


def test_a_lost_publish_is_made_up_for_by_the_next_round() -> None:
    def scenario(calls: Calls) -> None:
        yard = steady()
        yard.sides[A] = yard.sides[B] = ("far", "closed")
        yard.rounds(23)
        context = yard.context
        with calls.counted():
            yard.context = _only_alerts(calls, context)
            yard.round()
        yard.context = context
        yard.round()
        assert 1 <= len(yard.told()) <= 2

    assert len(check_every_lost_answer(scenario)) == 2


def _only_alerts(calls: Calls, context: Any) -> Any:
    return replace(context, alerts=calls.wrap(context.alerts, "alerts"))


@pytest.mark.slow
def test_a_promotion_takes_all_out_and_connects_each() -> None:
    def scenario(calls: Calls) -> None:
        yard = steady(HOSTS)
        repointed: list[str] = []

        def changed(change: str, subject: str) -> None:
            if change == "command" and yard.aws.commands[subject].parameters.get("Primary") == AWAY:
                repointed.append(yard.aws.commands[subject].instance)
                connected(yard, yard.aws.commands[subject].instance)

        yard.aws.on_change = changed
        move(yard, AWAY, HOME)
        yard.now += PRIMARY_REFRESH_SECONDS
        with calls.counted(), suppress(*FAILS):
            yard.round(context=calls.wrap_context(yard.context))
        yard.rounds(60)
        assert sorted(repointed) == [A, B] and set(yard.targets().values()) == {"registered"}
        assert ("autoscaling terminate", A) not in yard.changes()

    assert len(check_every_lost_answer(scenario)) > 40


@pytest.mark.slow
@pytest.mark.parametrize("ask", ["drain", "undrain", "replace"])
def test_what_is_asked_for_by_hand_is_done_once_or_said_not_to_be(ask: str) -> None:
    def scenario(calls: Calls) -> None:
        yard = steady()
        if ask == "undrain":
            yard.hand("drain", endpoint=A, apply=True)
            yard.rounds(6)
        ended: list[str] = []
        yard.aws.on_change = lambda change, subject: ended.append(subject) if change == "terminating" else None
        with calls.counted():
            outcome = yard.hand(ask, calls.wrap_context(yard.context), endpoint=A, apply=True)
        failed = outcome["status"] == "failed"
        yard.rounds(10)
        member = yard.state.members[0]
        if ask == "replace":
            assert len(ended) <= 1
            said = failed or "no answer" in str(outcome["results"])
            assert ended == [A] or said or "left" in str(outcome["results"])
        elif ask == "drain":
            assert (yard.target(A) == "absent") is member.drained_manually
            assert member.drained_manually or failed or "left" in str(outcome["results"])
        else:
            assert (yard.target(A) == "registered") is not member.drained_manually
            assert not member.drained_manually or failed or "left" in str(outcome["results"])

    assert len(check_every_lost_answer(scenario)) > 20


@pytest.mark.slow
def test_status_changes_nothing() -> None:
    def scenario(calls: Calls) -> None:
        yard = steady()
        with calls.counted():
            outcome = yard.hand("status", calls.wrap_context(yard.context))
        assert outcome["status"] in ("planned", "failed") and yard.changes() == []
        assert outcome["status"] == "planned" or "no answer" in outcome["message"]

    assert len(check_every_lost_answer(scenario)) > 6


DATABASES = """}
databases = {flavour = "mariadb", primary = "us-east-1", secret = "s", servers = [
  {region = "us-east-1", host = "db"}]"""


@pytest.mark.slow
def test_the_primary_s_region_reports_again_after_a_lost_answer() -> None:
    def scenario(calls: Calls) -> None:
        yard = Yard(DATABASES, "us-east-1")
        yard.network.addresses["db"] = "10.0.0.9"
        yard.sides["database"] = ("up", "answered")
        yard.now += 3600
        with calls.counted(), suppress(*FAILS):
            yard.minute(Controller(calls.wrap_context(yard.context), yard.network, yard.wait))
        yard.sides["database"] = ("far", "closed")
        yard.minute()
        item = yard.shared.get(PEER_REPORT_PK, "us-east-1")
        assert item and item.body["up"] is False

    assert len(check_every_lost_answer(scenario)) > 8


