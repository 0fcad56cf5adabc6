"""What a batch of messages comes to, message by message."""

from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.client import Unavailable
from chalicelib.engine.lease import Semaphore
from chalicelib.tasks import backoff
from chalicelib.tasks.event import Batch
from lamplighter import Refused, current
from tests.tasks.fakes import Context, place, record
from tests.tasks.harness import NOW, Workshop, body, fail


def test_of_ten_with_three_failures_exactly_three_come_back(shop: Workshop) -> None:
    records = [record(body("t.fail" if number in (2, 5, 9) else "t.note", n=number), number) for number in range(10)]
    assert shop.work(*records) == ["m2", "m5", "m9"]
    assert [call["n"] for call in shop.calls] == [0, 1, 3, 4, 6, 7, 8]
    assert shop.sqs.hidden == {f"r{number}": backoff.retry(1, f"m{number}") for number in (2, 5, 9)}
    line = shop.line()
    assert (line["Done"], line["Retried"], line["Dead"], line["queue"]) == (7, 3, 0, "default")
    assert line["ids"]["retried"] == ["m2", "m5", "m9"]


def test_when_all_fail_all_come_back_without_an_error_of_the_lambda(shop: Workshop) -> None:
    assert shop.work(record(body("t.fail"), 1), record(body("t.fail"), 2)) == ["m1", "m2"]


def test_nothing_of_aws_is_called_for_what_succeeds_at_once(shop: Workshop) -> None:
    assert shop.work(*(record(body(), number) for number in range(10))) == []
    assert shop.sqs.requests == [] and shop.table_calls == []


@pytest.mark.parametrize(("text", "reason", "error"), [
    ("{not json", "malformed", "the body is not a task's envelope"),
    ('{"task": "t.note", "arg": {}}', "malformed", "unknown field `arg`"),
    ('{"task": "t.nobody"}', "unknown-task", "there is no task 't.nobody'"),
    ('{"task": "t.strict", "args": {"b": 1}}', "wrong-arguments", "t.strict needs the argument a (tasks/t.py:1)"),
    ('{"task": "t.refuse"}', "refused", "there is no such customer"),
])
def test_what_can_never_succeed_is_buried_at_once_with_the_reason(
    shop: Workshop, text: str, reason: str, error: str
) -> None:
    def refuse() -> None:
        raise Refused("there is no such customer")

    shop.task("t.strict", shop.note, required=frozenset({"a"}), allowed=frozenset({"a"}))
    shop.task("t.refuse", refuse)
    assert shop.work(record(text, 1), record(body(), 2)) == []
    assert len(shop.calls) == 1
    letter, = shop.dead()
    assert (letter["reason"], letter["body"]) == (reason, text)
    assert error in letter["error"]
    assert (letter["origin"], letter["original-id"], letter["sent"]) == ("default", "m1", "1000000")
    assert shop.line()["ids"] == {"done": ["m2"], "dead": ["m1"]}


def test_one_that_was_brought_back_and_dies_again_says_so(shop: Workshop) -> None:
    again = record("{not json", 1) | {"messageAttributes": {"redriven": {"stringValue": "2", "dataType": "String"}}}
    shop.work(again)
    assert shop.dead()[0]["redriven"] == "2"


def test_the_last_try_that_fails_buries_the_message_with_its_error(shop: Workshop) -> None:
    shop.has_run("m1", starts=4, receives=4)
    assert shop.work(record(body("t.fail"), 1, receives=5)) == ["m1"]
    assert shop.dead() == []
    assert shop.work(record(body("t.fail"), 1, receives=6)) == []
    letter, = shop.dead()
    assert (letter["reason"], letter["attempts"], letter["task"]) == ("failed", "6", "t.fail")
    assert letter["error"] == "ConnectionError: no answer from the printer (try 6 of 6)"


def test_a_task_s_own_retries_go_before_the_queue_s(shop: Workshop) -> None:
    shop.task("t.once", fail, retries=0)
    assert shop.work(record(body("t.once"), 1)) == []
    assert shop.dead()[0]["attempts"] == "1"


def test_deferrals_do_not_use_up_tries(shop: Workshop) -> None:
    shop.has_run("m1", starts=1, receives=91)
    assert shop.work(record(body("t.fail"), 1, receives=92)) == ["m1"]
    assert shop.sqs.hidden == {"r1": backoff.retry(2, "m1")}


def test_a_message_that_kills_the_lambda_each_time_is_buried_unseen(shop: Workshop) -> None:
    shop.has_run("m1", starts=6, receives=6, is_open=True)
    assert shop.work(record(body(), 1, receives=7)) == []
    assert shop.calls == []
    letter, = shop.dead()
    assert (letter["reason"], letter["attempts"]) == ("crashed", "6")


def test_sys_exit_in_a_task_is_a_failure_not_the_worker_s_end(shop: Workshop) -> None:
    def leave() -> None:
        raise SystemExit(3)

    shop.task("t.exit", leave)
    assert shop.work(record(body("t.exit"), 1), record(body(), 2)) == ["m1"]
    assert len(shop.calls) == 1


@pytest.mark.slow
def test_a_task_that_takes_too_long_fails_as_timed_out(shop: Workshop) -> None:
    def spin() -> None:
        while True:
            pass

    shop.task("t.spin", spin, timeout=1, retries=0)
    assert shop.work(record(body("t.spin"), 1), record(body(), 2)) == []
    assert shop.dead()[0]["reason"] == "timed-out"
    assert len(shop.calls) == 1


def test_those_for_which_no_time_is_left_go_back_untouched(shop: Workshop) -> None:
    # 60 s a task; 5 s are kept: the first may run with less, the others may not.
    assert shop.work(*(record(body(n=n), n) for n in range(3)), seconds=64.9) == ["m1", "m2"]
    assert [call["n"] for call in shop.calls] == [0]
    assert shop.sqs.hidden == {"r1": 0, "r2": 0}
    assert shop.line()["ids"]["deferred"] == ["m1", "m2"]
    settled = {"starts": 0, "receives": 1, "is_open": False}
    assert (shop.counters("m0"), shop.counters("m1"), shop.counters("m2")) == (None, settled, settled)


def test_with_time_for_all_all_run(shop: Workshop) -> None:
    assert shop.work(*(record(body(n=n), n) for n in range(3)), seconds=90) == []


def test_no_more_at_once_than_the_limit_and_those_wait_without_using_up_a_try(shop: Workshop) -> None:
    shop.task("t.one", shop.note, concurrency=1)
    other = Semaphore(shop.table, "task-permits#", 5)
    assert other.acquire("t.one", 1, "other", now=NOW, until=NOW + 900)
    assert shop.work(record(body("t.one"), 1), record(body(), 2)) == ["m1"]
    assert shop.calls == [{}]
    assert 1 <= shop.sqs.hidden["r1"] <= 150
    assert shop.counters("m1") == {"starts": 0, "receives": 1, "is_open": False}
    other.release()
    assert shop.work(record(body("t.one"), 1, receives=2)) == []


def test_a_place_is_given_back_at_the_end_also_when_the_task_fails(shop: Workshop) -> None:
    shop.task("t.one", fail, concurrency=1)
    shop.work(record(body("t.one"), 1))
    assert Semaphore(shop.table, "task-permits#", 5).acquire("t.one", 1, "next", now=NOW, until=NOW + 900)


def test_work_with_a_key_is_done_once(shop: Workshop) -> None:
    shop.task("t.keyed", shop.note, key=lambda args: str(args["n"]))
    records = [record(body("t.keyed", n=n), number) for number, n in enumerate([7, 7, 8, 7])]
    assert shop.work(*records) == []
    assert [call["n"] for call in shop.calls] == [7, 8]
    assert shop.line()["ids"] == {"done": ["m0", "m2"], "repeated": ["m1", "m3"]}


def test_the_sender_s_key_goes_before_the_task_s(shop: Workshop) -> None:
    shop.task("t.keyed", shop.note, key=lambda args: str(args["n"]))
    shop.work(*(record(body("t.keyed", key="same", n=n), n) for n in range(3)))
    assert [call["n"] for call in shop.calls] == [0]


def test_keys_of_different_tasks_are_different(shop: Workshop) -> None:
    shop.task("t.other", shop.note)
    shop.work(record(body("t.note", key="k"), 1), record(body("t.other", key="k"), 2))
    assert len(shop.calls) == 2


def test_a_failed_try_with_a_key_may_be_tried_again(shop: Workshop) -> None:
    def fail_once(**args: Any) -> None:
        shop.note(**args)
        if current().attempt == 1:
            raise ConnectionError("not yet")

    shop.task("t.keyed", fail_once)
    assert shop.work(record(body("t.keyed", key="k"), 1)) == ["m1"]
    assert shop.work(record(body("t.keyed", key="k"), 1, receives=2)) == []
    assert len(shop.calls) == 2


@pytest.mark.slow
def test_a_time_out_within_a_key_frees_the_key(shop: Workshop) -> None:
    def spin(go: bool) -> None:
        while go:
            pass

    shop.task("t.spin", spin, timeout=1)
    assert shop.work(record(body("t.spin", key="k", go=True), 1)) == ["m1"]
    assert not shop.dynamo.items


def test_the_same_key_at_work_elsewhere_waits_without_using_up_a_try(shop: Workshop) -> None:
    def meanwhile(**args: Any) -> None:
        if not shop.calls:
            shop.note(**args)
            # The same key arrives at another worker while this one is at it.
            answer = shop.another().work(Batch(place(), [record(body("t.keyed", key="k"), 2)]), Context())
            assert answer == {"batchItemFailures": [{"itemIdentifier": "m2"}]}

    shop.task("t.keyed", meanwhile)
    assert shop.work(record(body("t.keyed", key="k"), 1)) == []
    assert shop.counters("m2") == {"starts": 0, "receives": 1, "is_open": False}


def test_idempotency_records_lie_in_the_regional_table_s_layout(shop: Workshop) -> None:
    shop.work(record(body(key="k"), 1))
    (pk, sk), item = next(iter(shop.dynamo.items.items()))
    assert pk.startswith("once#t.note#") and sk.startswith("t.note#")
    assert item["status"] == {"S": "COMPLETED"} and int(item["ttl"]["N"]) > 0


def test_a_table_that_does_not_answer_costs_no_try(shop: Workshop) -> None:
    shop.dynamo.broken = ClientError({"Error": {"Code": "ThrottlingException"}}, "PutItem")
    assert shop.work(record(body(key="k"), 1)) == ["m1"]
    assert shop.sqs.hidden == {"r1": 30}
    assert shop.counters("m1") == {"starts": 0, "receives": 1, "is_open": False}


def test_when_the_end_cannot_be_written_down_what_is_done_stays_done(shop: Workshop) -> None:
    shop.table_error = Unavailable("eu-west-1: no answer")
    shop.sqs.broken = ClientError({"Error": {"Code": "AccessDenied"}}, "ChangeMessageVisibility")
    assert shop.work(record(body(), 1), record(body("t.fail"), 2)) == ["m2"]
    assert shop.line()["ids"] == {"done": ["m1"], "retried": ["m2"]}


def test_a_dead_letter_that_is_not_taken_keeps_the_message_in_its_queue(shop: Workshop) -> None:
    shop.sqs.refuse = "nobody"
    assert shop.work(record(body("t.nobody"), 1)) == ["m1"]
    assert shop.dead() == []
    assert shop.sqs.hidden == {"r1": 30}


def test_a_module_that_does_not_import_is_retried_as_a_failure_and_told(shop: Workshop) -> None:
    shop.registry.broken["lamps"] = "tasks/lamps.py:3: cannot be imported (SyntaxError: x); correct it"
    assert [shop.work(record(body("lamps.sweep"), 1, receives=receives)) for receives in range(1, 7)] == [
        *[["m1"]] * 5, []]
    assert shop.dead()[0]["error"].startswith("tasks/lamps.py:3: cannot be imported")


FIFO = place("orders", fifo=True)


def order(name: str, number: int, group: str, **options: Any) -> dict[str, Any]:
    return record(body(name, n=number), number, group=group, queue="orders", **options)


def test_in_a_fifo_queue_a_failure_holds_back_its_group_and_no_other(shop: Workshop) -> None:
    batch = [order("t.note", 1, "a"), order("t.fail", 2, "a"), order("t.note", 3, "b"), order("t.note", 4, "a")]
    assert shop.work(*batch, at=FIFO) == ["m2", "m4"]
    assert [call["n"] for call in shop.calls] == [1, 3]
    # m4 waits behind m2, whose hiding holds the whole group; being behind is no try.
    assert shop.sqs.hidden == {"r2": backoff.retry(1, "m2"), "r4": 0}
    assert (shop.counters("m2"), shop.counters("m4")) == (
        {"starts": 1, "receives": 1, "is_open": False}, {"starts": 0, "receives": 1, "is_open": False})


def test_a_fifo_dead_letter_keeps_its_group_and_lets_the_next_go(shop: Workshop) -> None:
    assert shop.work(order("t.nobody", 1, "a"), order("t.note", 2, "a"), at=FIFO) == []
    entry = shop.sqs.messages("orders-dead")[0]["entry"]
    assert (entry["MessageGroupId"], entry["MessageDeduplicationId"]) == ("a", "m1")
    assert len(shop.calls) == 1


def test_the_next_batch_starts_afresh(shop: Workshop) -> None:
    shop.work(order("t.fail", 1, "a"), at=FIFO)
    assert shop.work(order("t.note", 2, "a"), at=FIFO) == []


def test_a_task_knows_id_attempt_queue_and_meta(shop: Workshop) -> None:
    seen = []
    shop.task("t.who", lambda: seen.append(current()))
    shop.has_run("m1", starts=1, receives=2)
    shop.work(record({"task": "t.who", "id": "order-9", "meta": {"trace": "x"}, "hops": 4}, 1, receives=3))
    run = msgspec.to_builtins(seen[0])
    assert run == {"task": "t.who", "id": "order-9", "attempt": 2, "queue": "default", "meta": {"trace": "x"},
                   "hops": 4}


def test_a_long_body_is_buried_whole_with_as_much_of_the_reason_as_fits(shop: Workshop) -> None:
    long = '{"task": "t.nobody", "args": {"x": "' + "x" * (256 * 1024 - 100) + '"}}'
    assert shop.work(record(long, 1)) == []
    letter, = shop.dead()
    assert letter["body"] == long
    assert letter["reason"] == "unknown-task"
    assert "error" not in letter or len(letter["error"]) < 60


def test_control_characters_in_an_error_do_not_keep_a_message_from_being_buried(shop: Workshop) -> None:
    def fails() -> None:
        raise ValueError("a\x00b\ud800c")

    shop.task("t.odd", fails, retries=0)
    assert shop.work(record(body("t.odd"), 1)) == []
    assert shop.dead()[0]["error"].startswith("ValueError: a\ufffdb\ufffdc")
