"""A batch whose tasks run in the runner: one invocation, and what each of its ends means for each message."""

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.aws.client import Throttled, Unavailable
from chalicelib.aws.functions import Invocation
from chalicelib.engine.lease import Semaphore
from chalicelib.tasks import backoff
from chalicelib.tasks.registry import key_of
from lamplighter import Refused
from testing.aws import denied
from tests.tasks.fakes import place, record
from tests.tasks.harness import NOW, Workshop, body
from tests.tasks.isolated import Runner, dies, kills_runner


@pytest.fixture
def runner(shop: Workshop) -> Runner:
    made = Runner(shop)
    shop.task("t.dies", dies)
    shop.task("t.kills", kills_runner)
    shop.worker = made.worker()
    return made


def ten(bad: str = "t.fail") -> list[dict[str, Any]]:
    return [record(body(bad if number in (2, 5, 9) else "t.note", n=number), number) for number in range(10)]


def test_a_batch_is_one_invocation_and_costs_no_other_call(shop: Workshop, runner: Runner) -> None:
    assert shop.work(*(record(body(n=n), n) for n in range(10))) == []
    assert [call["n"] for call in shop.calls] == list(range(10))
    assert runner.batches == [["t.note"] * 10]
    assert shop.sqs.requests == [] and shop.table_calls == []
    assert shop.line()["Done"] == 10


def test_of_ten_with_three_failures_exactly_three_come_back(shop: Workshop, runner: Runner) -> None:
    assert shop.work(*ten()) == ["m2", "m5", "m9"]
    assert [call["n"] for call in shop.calls] == [0, 1, 3, 4, 6, 7, 8]
    assert shop.sqs.hidden == {f"r{number}": backoff.retry(1, f"m{number}") for number in (2, 5, 9)}
    assert shop.counters("m2") == {"starts": 1, "receives": 1, "is_open": False}


def test_one_that_kills_its_process_is_known_and_harms_no_other(shop: Workshop, runner: Runner) -> None:
    assert shop.work(*ten("t.dies")) == ["m2", "m5", "m9"]
    assert len(runner.batches) == 1 and len(shop.calls) == 7
    # The next time it runs alone, since it may kill the whole runner.
    assert shop.counters("m2") == {"starts": 1, "receives": 1, "is_open": True}
    assert shop.work(record(body("t.dies"), 2, receives=2), record(body(n=1), 11)) == ["m2"]
    assert runner.batches[1:] == [["t.note"], ["t.dies"]]
    assert shop.counters("m2") == {"starts": 2, "receives": 2, "is_open": True}


def test_a_killer_is_buried_after_its_tries_and_says_that_it_crashed(shop: Workshop, runner: Runner) -> None:
    for receives in range(1, 7):
        back = shop.work(record(body("t.dies"), 1, receives=receives))
        assert back == (["m1"] if receives < 6 else [])
    [letter] = shop.dead()
    assert (letter["reason"], letter["attempts"]) == ("crashed", "6")
    assert letter["error"] == "its process ended by signal 9 (try 6 of 6)"


def test_when_the_runner_ends_with_a_batch_all_come_back_at_once_and_run_alone(shop: Workshop, runner: Runner) -> None:
    assert shop.work(record(body(n=0), 0), record(body("t.kills"), 1), record(body(n=2), 2)) == ["m0", "m1", "m2"]
    assert shop.sqs.hidden == {"r0": 0, "r1": 0, "r2": 0}
    assert [shop.counters(f"m{n}") for n in range(3)] == [None] * 3
    assert shop.line()["ids"]["deferred"] == ["m0", "m1", "m2"]
    again = [record(body("t.kills" if n == 1 else "t.note", n=n), n, receives=2) for n in range(3)]
    assert shop.work(*again) == ["m1", "m2"]
    assert runner.batches[1:] == [["t.note"]]
    again = [record(body("t.kills" if n == 1 else "t.note", n=n), n, receives=3) for n in (1, 2)]
    assert shop.work(*again) == ["m1", "m2"]
    assert runner.batches[2:] == [["t.kills"]]
    assert shop.counters("m1") == {"starts": 1, "receives": 3, "is_open": True}


def test_a_runner_that_ends_with_one_message_is_a_try_of_it(shop: Workshop, runner: Runner) -> None:
    assert shop.work(record(body("t.kills"), 1)) == ["m1"]
    assert shop.counters("m1") == {"starts": 1, "receives": 1, "is_open": True}
    assert shop.sqs.hidden == {"r1": backoff.retry(1, "m1")}


def test_a_refused_invocation_is_no_try_of_anything(shop: Workshop, runner: Runner) -> None:
    shop.task("t.keyed", shop.note, key=key_of(("n",)), key_arguments=("n",))
    shop.worker = runner.worker()
    for receives in range(1, 30):
        runner.before = [Throttled("Rate exceeded")]
        batch = [record(body(n=1), 1, receives=receives), record(body("t.keyed", n=2), 2, receives=receives)]
        assert shop.work(*batch) == ["m1", "m2"]
    assert shop.counters("m1") == {"starts": 0, "receives": 29, "is_open": False}
    assert shop.sqs.hidden["r1"] >= 1 and shop.dynamo.items == {}
    assert shop.work(*(record(body("t.keyed", n=2), 2, receives=30), record(body(n=1), 1, receives=30))) == []
    assert len(shop.calls) == 2 and shop.dead() == []


def test_the_others_are_settled_before_the_invocation_of_a_suspect_is_refused(shop: Workshop, runner: Runner) -> None:
    runner.before = [None, Throttled("Rate exceeded")]
    assert shop.work(record(body(n=1), 1, receives=2), record(body(n=2), 2)) == ["m1"]
    assert shop.calls == [{"n": 2}]
    assert shop.counters("m1") == {"starts": 0, "receives": 0, "is_open": False}


@pytest.mark.parametrize("is_open", [False, True])
def test_the_count_of_a_suspect_is_taken_back(shop: Workshop, runner: Runner, is_open: bool) -> None:
    shop.has_run("m1", starts=2, receives=3, is_open=is_open)
    runner.before = [Throttled("Rate exceeded")]
    receives = 4 if is_open else 6
    assert shop.work(record(body(n=1), 1, receives=receives)) == ["m1"]
    assert shop.counters("m1") == {"starts": 2, "receives": 3, "is_open": is_open}
    assert shop.work(record(body(n=1), 1, receives=receives + 1), record(body(n=2), 2)) == []
    assert runner.batches == [["t.note"], ["t.note"]]


@pytest.mark.parametrize("error", [denied("AccessDeniedException"), denied("ResourceNotFoundException")])
def test_a_runner_that_cannot_be_invoked_is_no_try(shop: Workshop, runner: Runner, error: Exception) -> None:
    runner.before = [error]
    assert shop.work(record(body(n=1), 1)) == ["m1"]
    assert shop.sqs.hidden == {"r1": 30}
    assert shop.counters("m1") == {"starts": 0, "receives": 1, "is_open": False}


def test_a_lost_answer_leaves_all_hidden_until_the_runner_must_have_ended(shop: Workshop, runner: Runner) -> None:
    shop.task("t.one", shop.note, concurrency=1, key=key_of(("n",)), key_arguments=("n",))
    shop.worker = runner.worker()
    runner.after = [Unavailable("no answer")]
    assert shop.work(record(body("t.one", n=1), 1), record(body(n=2), 2)) == ["m1", "m2"]
    assert len(shop.calls) == 2
    assert shop.sqs.hidden == {"r1": 901, "r2": 901}
    # It may be going on: neither key nor permit is free, and each message is a suspect.
    [key] = shop.dynamo.items.values()
    assert key["status"] == {"S": "INPROGRESS"}
    assert not Semaphore(shop.table, "task-permits#", 5).acquire("t.one", 1, "next", now=NOW + 880, until=NOW + 999)
    assert (shop.counters("m1"), shop.counters("m2")) == (None, None)
    assert shop.work(record(body(n=2), 2, receives=2), record(body(n=3), 3)) == []
    assert runner.batches[1:] == [["t.note"], ["t.note"]]


def test_a_suspect_whose_answer_is_lost_counts_as_started_and_stays_open(shop: Workshop, runner: Runner) -> None:
    runner.after = [Unavailable("no answer")]
    assert shop.work(record(body(n=1), 1, receives=2)) == ["m1"]
    assert shop.counters("m1") == {"starts": 1, "receives": 2, "is_open": True}
    assert shop.sqs.hidden["r1"] == 901


@pytest.mark.parametrize("answer", [b"", b"null", b"[", b"[]", b'[{"state": "lost"}]', b"[" * 5000])
def test_an_answer_that_is_none_is_a_try_of_a_message_alone(shop: Workshop, runner: Runner, answer: bytes) -> None:
    runner.aws.functions["lamp-test-tasks_runner"] = lambda payload: Invocation(answer)
    assert shop.work(record(body(n=1), 1)) == ["m1"]
    assert shop.counters("m1") == {"starts": 1, "receives": 1, "is_open": True}


def test_what_needs_no_run_is_settled_without_the_runner(shop: Workshop, runner: Runner) -> None:
    assert shop.work(record("{not json", 1), record(body("t.nobody"), 2)) == []
    assert sorted(letter["reason"] for letter in shop.dead()) == ["malformed", "unknown-task"]
    assert runner.batches == []


def test_a_task_that_refuses_is_buried_at_once(shop: Workshop, runner: Runner) -> None:
    def refuse() -> None:
        raise Refused("there is no such customer")

    shop.task("t.refuse", refuse)
    shop.worker = runner.worker()
    assert shop.work(record(body("t.refuse"), 1)) == []
    assert (shop.dead()[0]["reason"], shop.dead()[0]["error"]) == ("refused", "there is no such customer")


def test_those_for_which_no_time_is_left_go_back_untouched(shop: Workshop, runner: Runner) -> None:
    runner.seconds_each = 60
    assert shop.work(*(record(body(n=n), n) for n in range(3)), seconds=60 + 5 + 35 + 0.5) == ["m1", "m2"]
    assert shop.sqs.hidden == {"r1": 0, "r2": 0}
    assert shop.counters("m1") == {"starts": 0, "receives": 1, "is_open": False}


def test_without_any_time_the_runner_is_not_even_invoked(shop: Workshop, runner: Runner) -> None:
    assert shop.work(record(body(), 1), seconds=39) == ["m1"]
    assert runner.batches == []


def test_each_waits_longer_than_the_next(shop: Workshop, runner: Runner) -> None:
    shop.work(record(body(), 1), seconds=900)
    [batch] = runner.seen
    # The longest task fits, and the worker has its answer before its own end.
    assert 780 <= batch.seconds <= 900 - 5 - 35


def test_work_with_a_key_is_done_once(shop: Workshop, runner: Runner) -> None:
    shop.task("t.keyed", shop.note, key=key_of(("n",)), key_arguments=("n",))
    shop.worker = runner.worker()
    records = [record(body("t.keyed", n=n), number) for number, n in enumerate([7, 7, 8, 7])]
    assert shop.work(*records) == []
    assert [call["n"] for call in shop.calls] == [7, 8]
    assert shop.line()["ids"] == {"done": ["m0", "m2"], "repeated": ["m1", "m3"]}


def test_a_key_that_is_a_function_is_made_in_the_runner(shop: Workshop, runner: Runner) -> None:
    shop.task("t.keyed", shop.note, key=lambda args: str(args["n"] // 10))
    shop.task("t.odd", shop.note, key=lambda args: str(1 // args["n"]))
    shop.worker = runner.worker()
    records = [record(body("t.keyed", n=n), n) for n in (11, 12, 23)]
    assert shop.work(*records, record(body("t.odd", n=0), 1)) == ["m1"]
    assert [call["n"] for call in shop.calls] == [11, 23]
    assert shop.counters("m1") == {"starts": 1, "receives": 1, "is_open": False}
    assert runner.batches[0] == ["t.keyed"] * 3 + ["t.odd"]


def test_a_keyed_task_that_fails_frees_its_key(shop: Workshop, runner: Runner) -> None:
    def fail(**args: Any) -> None:
        raise ConnectionError

    shop.task("t.keyed", fail, key=key_of(("n",)), key_arguments=("n",))
    shop.worker = runner.worker()
    assert shop.work(record(body("t.keyed", n=1), 1)) == ["m1"]
    assert shop.dynamo.items == {}


def test_when_the_keys_store_is_away_nothing_runs(shop: Workshop, runner: Runner) -> None:
    shop.task("t.keyed", shop.note, key=key_of(("n",)), key_arguments=("n",))
    shop.worker = runner.worker()
    shop.dynamo.broken = EndpointConnectionError(endpoint_url="x")
    assert shop.work(record(body("t.keyed", n=1), 1), record(body(n=2), 2)) == ["m1"]
    assert shop.calls == [{"n": 2}]


def test_no_more_at_once_than_the_limit_and_places_are_given_back(shop: Workshop, runner: Runner) -> None:
    for name in ("t.one", "t.two"):
        shop.task(name, shop.note, concurrency=1)
    shop.worker = runner.worker()
    other = Semaphore(shop.table, "task-permits#", 5)
    assert other.acquire("t.two", 1, "other", now=NOW, until=NOW + 900)
    records = [record(body(name), number) for number, name in enumerate(("t.one", "t.two", "t.one", "t.note"))]
    assert shop.work(*records) == ["m1"]
    assert runner.batches == [["t.one", "t.one", "t.note"]]
    assert Semaphore(shop.table, "task-permits#", 5).acquire("t.one", 1, "next", now=NOW, until=NOW + 900)


def test_of_a_fifo_group_nothing_overtakes_a_failure(shop: Workshop, runner: Runner) -> None:
    queue = place("orders", fifo=True)
    records = [record(body(name, n=n), n, group=group, queue="orders") for n, (name, group) in enumerate([
        ("t.fail", "a"), ("t.note", "b"), ("t.note", "a"), ("t.note", "b")])]
    assert shop.work(*records, at=queue) == ["m0", "m2"]
    assert [call["n"] for call in shop.calls] == [1, 3]
    assert shop.counters("m2") == {"starts": 0, "receives": 1, "is_open": False}


def test_a_fifo_suspect_waits_for_the_earlier_ones_of_its_group(shop: Workshop, runner: Runner) -> None:
    queue = place("orders", fifo=True)
    first = record(body("t.fail", n=0), 0, group="a", queue="orders")
    suspect = record(body(n=1), 1, receives=2, group="a", queue="orders")
    assert shop.work(first, suspect, at=queue) == ["m0", "m1"]
    assert shop.calls == [] and runner.batches == [["t.fail"]]
