from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.tasks import decide as plans
from chalicelib.tasks.decide import MessageFilter, Redrive
from chalicelib.tasks.decide import message as decide
from chalicelib.tasks.decide.message import DeadLetter, Deferral, Message
from chalicelib.tasks.registry import Registry
from chalicelib.tasks.state import MessageState, QueueDepth, QueuedMessage, QueueSample


def message(starts: int = 0, receives: int = 1, **more: Any) -> Message:
    return Message("m", receives, 0.0, starts, **more)


@pytest.mark.parametrize(("receives", "stored", "attempt", "is_suspect"), [
    (1, None, 1, False),
    (2, None, 1, True),  # it was received, and nobody knows what came of it
    (7, None, 1, True),
    (2, MessageState(1, 1), 2, False),
    (9, MessageState(1, 8), 2, False),  # waits are no attempts
    (4, MessageState(1, 2), 2, True),
    (3, MessageState(2, 2, is_open=True), 3, True),
    (1, MessageState(2, 2), 3, False),
])
def test_runs_are_counted_and_not_receives(
    receives: int, stored: MessageState | None, attempt: int, is_suspect: bool
) -> None:
    counted = decide.counted("m", receives, 0, stored)
    assert (counted.attempt, counted.is_suspect) == (attempt, is_suspect)


def test_what_goes_back_in_order_is_no_suspect_and_a_suspect_that_has_not_run_stays_one() -> None:
    waits, fails = Deferral(0, "", attempt=False), Deferral(9, "", attempt=True)
    suspect = decide.counted("m", 4, 0, None)
    assert decide.returned(suspect, waits, has_started=False) is None
    assert decide.started(suspect) == MessageState(1, 4, is_open=True)
    for deferral in (waits, fails):
        assert decide.returned(suspect, deferral, has_started=True) == MessageState(1, 4)
    assert decide.returned(message(2, 5), fails, has_started=False) == MessageState(3, 5)
    assert decide.returned(message(2, 5), waits, has_started=False) == MessageState(2, 5)


@pytest.mark.parametrize(("attempt", "retries", "dead"), [
    (1, 0, True), (1, 1, False), (2, 1, True), (5, 5, False), (6, 5, True),
])
def test_a_failure_is_tried_again_as_often_as_it_may(attempt: int, retries: int, dead: bool) -> None:
    verdict = decide.failed(message(attempt - 1), retries, "failed", "KeyError: 'x'")
    assert isinstance(verdict, DeadLetter if dead else Deferral)
    assert f"(try {attempt} of {retries + 1}" in verdict.why
    if isinstance(verdict, Deferral):
        assert verdict.attempt


def test_a_refusal_is_never_tried_again() -> None:
    assert decide.failed(message(), 5, "refused", "no such customer") == DeadLetter("refused", "no such customer")


@given(st.integers(0, 50), st.booleans(), st.integers(0, 20))
def test_only_a_message_with_as_many_starts_as_it_may_have_is_used_up(
    starts: int, is_open: bool, retries: int
) -> None:
    dead = decide.used_up(message(starts, is_open=is_open), retries)
    assert (dead is not None) == (starts > retries)
    assert dead is None or dead.kind == ("crashed" if is_open else "failed")


@pytest.mark.parametrize(("timeout", "remaining", "first", "gets"), [
    (60, 800.0, False, 60.0), (60, 60.0, False, 60.0), (60, 59.9, False, None), (60, 59.9, True, 59.9),
    (60, 0.0, True, None), (60, -3.0, True, None),
])
def test_a_run_gets_its_time_or_goes_back(timeout: int, remaining: float, first: bool, gets: float | None) -> None:
    assert decide.time_allowed(timeout, remaining, first) == gets


def test_giving_back_for_want_of_time_costs_no_try_and_no_wait() -> None:
    assert decide.no_time() == Deferral(0, "no time left in this invocation", attempt=False)


def test_an_unknown_task_names_those_there_are() -> None:
    dead = decide.not_callable(None, "invoices.rendr", {}, Registry())
    assert dead.kind == "unknown-task"
    assert "'invoices.rendr'" in dead.why
    assert "none at all" in dead.why


def looked(*letters: QueuedMessage, cut: tuple[str, ...] = ()) -> QueueSample:
    return QueueSample(letters, cut)


def letter(id: str, **said: object) -> QueuedMessage:
    facts = {"queue": "default-dead", "body": "{}", "sent": 1, "receives": 1, "receipt": "r", "origin": "default",
             "reason": "failed", "error": "KeyError: 'x'", "task": "a.b"} | said
    return QueuedMessage(id=id, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(("wanted", "ids"), [
    (Redrive(), ["1", "2", "3"]),
    (Redrive(id="2"), ["2"]),
    (Redrive(id="old"), ["3"]),
    (Redrive(error="keyerror"), ["1", "3"]),
    (Redrive(error="timed-out"), ["2"]),
    (Redrive(task="c.d"), ["2"]),
    (Redrive(id="9"), []),
])
def test_redrive_takes_all_one_or_by_error(wanted: Redrive, ids: list[str]) -> None:
    late = letter("2", reason="timed-out", error="took longer", task="c.d")
    letters = [late, letter("1"), letter("3", original="old")]
    plan = plans.redrive(looked(*letters), wanted)
    assert [action.target for action in plan.actions] == ids


def test_a_redrive_says_why_each_one_died_and_has_a_digest_of_its_own() -> None:
    first = plans.redrive(looked(letter("1")), Redrive())
    second = plans.redrive(looked(letter("1"), letter("2")), Redrive())
    assert first.actions[0].reason == "it died as failed: KeyError: 'x'"
    assert first.digest != second.digest
    # A new receipt is no new plan: a digest shown now still applies after the next look.
    assert plans.redrive(looked(letter("1", receipt="new", receives=9)), Redrive()).digest == first.digest


def test_a_letter_of_unknown_origin_stays_and_is_told() -> None:
    plan = plans.redrive(looked(letter("1", origin="")), Redrive())
    assert not plan.actions
    assert "default-dead: 1 does not say its origin" in plan.notes[1]


def test_when_not_all_were_looked_at_it_says_so() -> None:
    more = "default-dead has more messages than this run could read. Run it again for the rest"
    assert more in plans.redrive(looked(letter("1"), cut=("default-dead",)), Redrive()).notes
    assert more in plans.peek(looked(letter("1"), cut=("default-dead",)), MessageFilter()).notes
    assert more not in plans.redrive(looked(letter("1")), Redrive()).notes


def test_peek_shows_what_is_wanted_and_warns_about_live_queues() -> None:
    plan = plans.peek(looked(letter("1"), letter("2", error="ValueError")), MessageFilter(error="value"))
    assert [shown["id"] for shown in plan.report["messages"]] == ["2"]
    assert not plan.notes
    assert "counted as one try" in plans.peek(looked(letter("1", origin="")), MessageFilter()).notes[0]


def test_a_letter_for_people_has_no_receipt_and_a_short_body() -> None:
    shown = letter("1", body="å" * 3000).summary()
    assert shown["sent"] == "1970-01-01T00:00:01Z"
    assert len(shown["body"]) == 2000
    assert shown["bytes"] == 6000
    assert "receipt" not in shown


def test_status_points_at_dead_letters_only() -> None:
    depths = [QueueDepth("default", 5, 1, 0, 12, False), QueueDepth("default-dead", 2, 0, 0, None, True)]
    plan = plans.status(depths)
    assert plan.notes == ("default-dead: 2 dead letters. See tasks.peek, then tasks.redrive",)
    assert plan.report["queues"][0]["oldest"] == 12
