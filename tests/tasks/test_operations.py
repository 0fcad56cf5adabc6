"""tasks.status, tasks.peek and tasks.redrive through the loop that every operation goes through."""

import json
from typing import Any

import pytest

from chalicelib.aws import client
from chalicelib.config.fleet import parse
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.tasks import operations
from testing.fakes import MemoryTable
from testing.paging import EmptyFirstPage
from tests.tasks.fakes import URL, SqsClient

FLEET = parse("""
name = "lamp"
regions = [{name = "eu-west-1"}]
coordination = {regions = ["eu-west-1"]}
queues = [{name = "default"}, {name = "slow"}]
""")
URLS = {name: f"{URL}{name}" for name in ("default", "default-dead", "slow", "slow-dead", "schedule-runs")}


class CloudWatch:
    def get_metric_data(self, MetricDataQueries: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        by_name = {query["MetricStat"]["Metric"]["Dimensions"][0]["Value"]: query["Id"] for query in MetricDataQueries}
        return {"MetricDataResults": [{"Id": by_name["lamp-test-default"], "Values": [42.0, 17.0]},
                                      {"Id": by_name["lamp-test-slow"], "Values": []}]}


class Topic:
    def publish(self, subject: str, text: str) -> None:
        raise AssertionError("nobody is to be told")


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> SqsClient:
    fake, metrics = SqsClient(), EmptyFirstPage("cloudwatch", CloudWatch())
    monkeypatch.setattr(client, "client", lambda service, region: metrics if service == "cloudwatch" else fake)
    monkeypatch.setenv("LAMP_QUEUES", json.dumps(URLS))
    return fake


def run(name: str, memory: MemoryTable | None = None, **event: object) -> dict[str, Any]:
    operation = next(one for one in operations.ALL if one.name == name)
    memory = memory or MemoryTable()
    site = RegionContext(
        region="eu-west-1",
        stage="test",
        fleet=FLEET,
        shared_store=memory,
        local_store=memory,
        queues={},
        alerts=Topic(),
        clock=lambda: 5000.0,
    )
    return engine.run(operation, site, event, "id")


def bury(sqs: SqsClient, count: int = 3, queue: str = "default-dead", error: str = "KeyError: 'x'") -> list[str]:
    said = {"reason": "failed", "error": error, "origin": queue.removesuffix("-dead"), "task": "a.b",
            "original-id": "old"}
    return [sqs.put(queue, json.dumps({"task": "a.b", "args": {"n": n}}), said) for n in range(count)]


def waiting(sqs: SqsClient, queue: str) -> list[str]:
    """Ids of the messages that anybody may receive now."""
    return [kept["MessageId"] for kept in sqs.messages(queue) if kept["visible"] <= sqs.clock]


def test_status_has_depth_age_and_dead_letters(sqs: SqsClient) -> None:
    sqs.put("default", "{}")
    sqs.put("slow", "{}")
    bury(sqs, 2)
    answer = run("tasks.status")
    queues = {queue["name"]: queue for queue in answer["plan"]["report"]["queues"]}
    assert (queues["default"]["waiting"], queues["default"]["oldest"]) == (1, 42)
    assert queues["slow"]["oldest"] is None  # CloudWatch has no number yet
    assert queues["schedule-runs"]["oldest"] == 0  # empty
    assert queues["default-dead"]["dead_letters"] and not queues["default"]["dead_letters"]
    assert answer["plan"]["notes"] == ("default-dead: 2 dead letters. See tasks.peek, then tasks.redrive",)


def test_peek_shows_dead_letters_and_leaves_them(sqs: SqsClient) -> None:
    ids = bury(sqs)
    answer = run("tasks.peek")
    shown = answer["plan"]["report"]["messages"]
    assert [one["id"] for one in shown] == ids
    assert (shown[0]["reason"], shown[0]["origin"]) == ("failed", "default")
    assert waiting(sqs, "default-dead") == ids
    assert answer["status"] == "planned"


def test_peek_looks_at_no_more_than_it_is_told_and_puts_those_back_too(sqs: SqsClient) -> None:
    ids = bury(sqs, 25)
    assert len(run("tasks.peek", queue="default-dead", limit=12)["plan"]["report"]["messages"]) == 12
    assert sorted(waiting(sqs, "default-dead")) == ids


def test_what_was_read_is_put_back_also_when_reading_breaks(sqs: SqsClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = bury(sqs, 15)
    whole = sqs.receive_message

    def breaks(**arguments: Any) -> dict[str, Any]:
        if sqs.requests.count("receive") == 1:
            raise client.Unavailable("eu-west-1: no answer")
        return whole(**arguments)

    monkeypatch.setattr(sqs, "receive_message", breaks)
    assert run("tasks.peek", queue="default-dead", limit=50)["status"] == "failed"
    assert waiting(sqs, "default-dead") == ids


@pytest.mark.parametrize(("name", "event", "says"), [
    ("tasks.peek", {"queue": "nowhere"}, "there is no queue 'nowhere'. There are default, default-dead"),
    ("tasks.peek", {"limit": 0}, "limit"),
    ("tasks.peek", {"limit": "all"}, "limit"),
    ("tasks.redrive", {"queue": "default"},
     "'default' holds no dead letters of tasks. Name one of default-dead, slow-dead"),
    ("tasks.redrive", {"que": "default-dead"}, "unknown field `que`"),
    ("tasks.redrive", {"apply": 1}, "apply"),
    ("tasks.status", {"queue": "default"}, "unknown field"),
])
def test_a_wrong_request_is_refused_in_one_sentence(
    sqs: SqsClient, name: str, event: dict[str, Any], says: str
) -> None:
    answer = run(name, **event)
    assert answer["status"] == "refused"
    assert says in answer["message"]


def test_redrive_only_plans_until_told(sqs: SqsClient) -> None:
    ids = bury(sqs)
    answer = run("tasks.redrive")
    assert [action["target"] for action in answer["plan"]["actions"]] == ids
    assert waiting(sqs, "default-dead") == ids
    assert sqs.messages("default") == []


def test_redrive_all(sqs: SqsClient) -> None:
    memory = MemoryTable()
    ids = bury(sqs, 23) + bury(sqs, 2, "slow-dead")
    answer = run("tasks.redrive", memory, apply=True)
    assert answer["status"] == "done"
    assert [len(sqs.messages(name)) for name in ("default", "slow", "default-dead", "slow-dead")] == [23, 2, 0, 0]
    assert answer["results"] == tuple(f"{id}: back in {'default' if id in ids[:23] else 'slow'}" for id in ids)
    assert sqs.messages("default")[0]["MessageAttributes"] == {"redriven": {"DataType": "String", "StringValue": "1"}}
    assert any(pk.startswith("journal#") for pk, _ in memory.store.items)
    # Those that went (received for the second time) are gone: they are not put back as well.
    assert not [receipt for receipt in sqs.hidden if receipt.endswith("/2")]


def test_a_fifo_letter_goes_back_into_its_group_under_a_name_that_sqs_has_not_seen(
    sqs: SqsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = {name: f"{url}.fifo" if name.startswith("default") else url for name, url in URLS.items()}
    monkeypatch.setenv("LAMP_QUEUES", json.dumps(fifo))
    id = sqs.put("default-dead.fifo", "{}", {"origin": "default"}, MessageGroupId="customer-7")
    run("tasks.redrive", apply=True)
    entry = sqs.messages("default")[0]["entry"]
    assert (entry["MessageGroupId"], entry["MessageDeduplicationId"]) == ("customer-7", f"{id}-1")


def test_redrive_one_and_by_error(sqs: SqsClient) -> None:
    one, two = bury(sqs, 1)[0], bury(sqs, 2, error="ValueError: y")
    assert run("tasks.redrive", id=one, apply=True)["results"] == (f"{one}: back in default",)
    assert waiting(sqs, "default-dead") == two
    assert len(run("tasks.redrive", error="valueerror", apply=True)["results"]) == 2
    assert sqs.messages("default-dead") == []


def test_redrive_applies_the_plan_that_was_shown_and_no_other(sqs: SqsClient) -> None:
    bury(sqs, 2)
    digest = run("tasks.redrive")["digest"]
    late = bury(sqs, 1)
    answer = run("tasks.redrive", apply=digest)
    assert answer["status"] == "refused" and "no longer" in answer["message"]
    assert len(waiting(sqs, "default-dead")) == 3
    assert run("tasks.redrive", id=late[0], apply=True)["status"] == "done"
    assert run("tasks.redrive", apply=digest)["status"] == "done"


def test_what_sqs_does_not_take_stays_and_is_told(sqs: SqsClient) -> None:
    ids = bury(sqs, 3)
    sqs.refuse = '"n": 1'
    answer = run("tasks.redrive", apply=True)
    assert f"{ids[1]}: not sent to default: refused by the test. It stays" in answer["results"]
    assert waiting(sqs, "default-dead") == [ids[1]]
    assert len(sqs.messages("default")) == 2


def test_a_letter_moved_by_sqs_itself_goes_back_to_where_it_came_from(sqs: SqsClient) -> None:
    id = sqs.put("default-dead", "{}", DeadLetterQueueSourceArn="arn:aws:sqs:eu-west-1:000000000000:lamp-test-slow")
    other = sqs.put("default-dead", "{}")
    answer = run("tasks.redrive", apply=True)
    assert answer["results"] == (f"{id}: back in slow", f"{other}: back in default")
    assert answer["plan"]["actions"][0]["reason"] == "it died as moved by SQS"


def test_a_second_redrive_counts_on(sqs: SqsClient) -> None:
    sqs.put("default-dead", "{}", {"origin": "default", "reason": "failed", "redriven": "1"})
    run("tasks.redrive", apply=True)
    assert sqs.messages("default")[0]["MessageAttributes"]["redriven"]["StringValue"] == "2"


def test_without_queues_every_operation_says_so(sqs: SqsClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMP_QUEUES")
    for name in ("tasks.status", "tasks.peek", "tasks.redrive"):
        answer = run(name)
        assert (answer["status"], "LAMP_QUEUES" in answer["message"]) == ("refused", True)


def test_the_schedules_own_dead_letters_are_shown_but_never_brought_back(
    sqs: SqsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMP_QUEUES", json.dumps(URLS | {"schedule-runs-dead": f"{URL}schedule-runs-dead"}))
    id = sqs.put("schedule-runs-dead", "{}")
    assert [one["id"] for one in run("tasks.peek")["plan"]["report"]["messages"]] == [id]
    assert run("tasks.redrive", apply=True)["message"] == "nothing to do"
    assert run("tasks.redrive", queue="schedule-runs-dead")["status"] == "refused"


def test_when_there_is_more_than_was_looked_at_it_says_so(sqs: SqsClient) -> None:
    bury(sqs, 12)
    more = "default-dead has more messages than this run could read. Run it again for the rest"
    assert more in run("tasks.peek")["plan"]["notes"]
    assert not any("not all" in note for note in run("tasks.peek", limit=13)["plan"]["notes"])
