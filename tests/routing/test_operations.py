"""Plan, apply, drift, evacuate, restore and hold as in production, over APIs in memory and real sockets."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.aws.client import Throttled, Unavailable
from chalicelib.config import fleet as fleets
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.routing import operations
from chalicelib.routing.records import diff
from chalicelib.routing.state import REPORT_PK
from testing.fakes import MemoryTable, MemoryTopic
from testing.route53 import FakeRoute53
from tests.routing.harness import THREE, World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    for region in THREE:
        made.kill(region)


def test_by_hand_it_only_plans(world: World) -> None:
    outcome = world.ask(operations.APPLY)
    assert outcome["status"] == "planned" and outcome["message"] == "3 x prepare-flag-bucket, 9 x create-check"
    assert world.records == [] and world.route53.checks == {}
    assert world.ask(operations.PLAN)["digest"] == outcome["digest"]
    assert world.ask(operations.PLAN, apply=True)["status"] == "refused"


def test_apply_makes_checks_waits_until_they_know_something_and_then_makes_records(world: World) -> None:
    world.reports = 0
    assert world.ask(operations.APPLY, apply=True)["status"] == "later" and len(world.route53.checks) == 9
    assert world.ask(operations.APPLY, apply=True)["status"] == "later" and world.records == []
    world.reports = 16
    assert world.apply() == ["done", "done"]
    assert len(world.records) == 89
    [entry] = [item for item in world.tables[THREE[0]].store.items.values() if "89 to create" in str(item[0].body)]
    assert len(json.dumps(entry[0].body)) < 5000, "the journal must not hold the records"


def test_the_buckets_for_marks_are_made_once(world: World) -> None:
    world.apply()
    policies = {region: s3.buckets[f"marks-{region}"] for region, s3 in world.s3.items()}
    assert all(json.loads(policy or "")["Statement"][0]["Resource"] == f"arn:aws:s3:::marks-{region}/evacuated/*"
               for region, policy in policies.items())
    world.s3["us-east-1"].buckets["marks-us-east-1"] = None
    assert world.ask(operations.APPLY)["message"] == "1 x prepare-flag-bucket"
    world.apply()
    assert {region: s3.buckets[f"marks-{region}"] for region, s3 in world.s3.items()} == policies


def test_a_bucket_of_somebody_else_s_or_with_a_policy_of_its_own_is_left_alone(world: World) -> None:
    s3 = world.s3["us-east-1"]
    s3.buckets["marks-us-east-1"], s3.owners["marks-us-east-1"] = None, "999999999999"
    assert "is not yours" in world.ask(operations.APPLY, apply=True)["message"]
    s3.owners.clear()
    s3.buckets["marks-us-east-1"] = '{"Statement": [{"Sid": "Mine"}]}'
    outcome = world.ask(operations.APPLY, apply=True)
    assert outcome["status"] == "refused" and '"Sid": "LamplighterMarks"' in outcome["message"]
    assert s3.buckets["marks-us-east-1"] == '{"Statement": [{"Sid": "Mine"}]}' and world.route53.requests[:1]
    assert world.route53.checks == {}


def test_a_region_that_is_away_keeps_nobody_from_the_other_regions_records(world: World) -> None:
    world.apply()
    world.silence("us-east-1")
    outcome = world.ask(operations.APPLY)
    assert "the bucket marks-us-east-1 is unknown, since us-east-1 does not answer" in outcome["plan"]["notes"]
    assert world.ask(operations.DRIFT)["message"] == "nothing to do"


def test_a_policy_with_one_statement_needs_no_list(world: World) -> None:
    world.apply()
    for s3 in world.s3.values():
        for name, policy in s3.buckets.items():
            s3.buckets[name] = json.dumps({"Statement": json.loads(policy or "")["Statement"][0]})
    assert world.ask(operations.PLAN)["message"] == "nothing to do"


def test_an_account_that_blocks_public_policies_is_told_so(world: World) -> None:
    world.s3["us-east-1"].blocks_public_policies = True
    outcome = world.ask(operations.APPLY, apply=True)
    assert outcome["status"] == "refused" and "Does the account block public policies" in outcome["message"]


def test_it_settles_and_stays_as_it_is(world: World) -> None:
    assert world.apply() == ["later", "done", "done"]
    before = list(world.records)
    assert world.ask(operations.APPLY)["message"] == "nothing to do"
    assert world.ask(operations.DRIFT, apply=True)["message"] == "nothing to do" and world.topic.told == []
    assert world.records == before


def test_drift_is_told_and_mended(world: World) -> None:
    world.apply()
    world.records = [record for record in world.records if record.get("SetIdentifier") != "JP"]
    world.records[0] = {**world.records[0], "SetIdentifier": "strange"}
    world.ask(operations.DRIFT, apply=True)
    [(subject, said)] = world.topic.told
    assert "app.example.com" in subject and "to delete" in said
    world.apply()
    assert world.ask(operations.DRIFT)["message"] == "nothing to do"


def _cut(route53: FakeRoute53, at: int, error: type[Exception]) -> None:
    begun = [0]

    def fault(call: str) -> None:
        if call == "route53 change_record_sets":
            begun[0] += 1
            # Called before and after each request.
            if begun[0] == 2 * at - 1:
                raise error("cut")

    route53.fault = fault


@pytest.mark.slow
@pytest.mark.parametrize(("error", "status"), [(Throttled, "later"), (Unavailable, "failed")])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_cut_off_in_the_middle_it_goes_on_and_the_name_always_has_an_answer(
    world: World, monkeypatch: pytest.MonkeyPatch, at: int, error: type[Exception], status: str
) -> None:
    monkeypatch.setattr(diff, "MOST_ELEMENTS", 12)
    world.apply()
    complete = diff.groups(world.records)
    # New checks, and with them all records that carry one: several names, so several requests.
    more = "interval = 30\n"
    _cut(world.route53, at, error)
    world.route53.on_records = lambda: _whole(world.records)
    statuses = [world.ask(operations.APPLY, more=more, apply=True, force=True)["status"] for _ in range(6)]
    assert statuses[-1] == "done" and statuses[:2] == ["later", status]
    assert world.ask(operations.APPLY, more=more)["message"] == "nothing to do"
    assert diff.groups(world.records) != complete


def _whole(records: list[dict[str, Any]]) -> None:
    """Each name that something leads to is there, and the hostname has its default."""
    names = {record["Name"] for record in records}
    assert {record["AliasTarget"]["DNSName"] for record in records if "AliasTarget" in record} <= names
    assert any(record["Name"] == "app.example.com." and record["SetIdentifier"] == "default" for record in records)


@pytest.mark.slow
def test_a_new_config_of_a_check_makes_a_new_check_and_the_old_one_goes_last(world: World) -> None:
    world.apply()
    old = set(world.route53.checks)
    for _ in range(6):
        world.ask(operations.APPLY, more="interval = 30\n", apply=True, force=True)
    assert world.ask(operations.APPLY, more="interval = 30\n")["message"] == "nothing to do"
    assert len(world.route53.checks) == 9 and not old & set(world.route53.checks)
    used = {record["HealthCheckId"] for record in world.records if "HealthCheckId" in record}
    assert used <= set(world.route53.checks)


def test_a_check_that_somebody_deleted_is_made_anew(world: World) -> None:
    world.apply()
    for record in world.records:
        record.pop("HealthCheckId", None)
    for name in ("serving-us-east-1", "open-us-east-1"):
        [id] = [id for id, check in world.route53.checks.items() if f":{name}:" in check.reference]
        world.route53.delete_health_check(id)
    world.apply()
    assert len(world.route53.checks) == 9
    assert {record["HealthCheckId"] for record in world.records if "HealthCheckId" in record} <= set(
        world.route53.checks)
    assert world.ask(operations.DRIFT, apply=True)["message"] == "nothing to do"


def test_evacuate_and_restore_never_call_route53(world: World) -> None:
    world.with_buckets()
    def away(method: str) -> None:
        raise AssertionError(f"Route 53 was called: {method}")

    world.route53.fault = away
    assert world.ask(operations.EVACUATE, THREE[2], region="eu-west-1", reason="works")["status"] == "planned"
    assert world.marks() == {}
    assert world.ask(operations.EVACUATE, THREE[2], region="eu-west-1", reason="works", apply=True)["status"] == "done"
    assert world.marks() == {"eu-west-1": "manual"} and list(world.s3["us-east-1"].objects) == [
        ("marks-us-east-1", "evacuated/eu-west-1")]
    rows = world.ask(operations.STATUS)["plan"]["report"]["regions"]
    assert [row["serves"] for row in rows] == [False, True, True]
    assert rows[0]["kept away"] == "by hand, from 2026-03-28 12:00Z on"
    assert world.ask(operations.RESTORE, region="eu-west-1", apply=True)["status"] == "done"
    assert world.marks() == {} and world.route53.requests == []


def test_evacuate_before_apply_is_refused_with_the_remedy(world: World) -> None:
    refused = world.ask(operations.EVACUATE, region="eu-west-1", apply=True)
    assert (refused["status"], refused["message"]) == (
        "refused", "eu-west-1 cannot be evacuated: the bucket marks-us-east-1 for the flag of eu-west-1 is not there "
                   "yet. Run routing.apply, which makes it")
    assert "is not evacuated: the bucket" in world.ask(operations.RESTORE, region="eu-west-1")["plan"]["notes"][0]
    plan = world.ask(operations.STATUS)["plan"]
    assert [row["kept away"] for row in plan["report"]["regions"]] == ["not known"] * 3
    assert len(plan["notes"]) == 3 and all("Run routing.apply" in note for note in plan["notes"])
    assert world.marks() == {}
    world.apply()
    assert world.ask(operations.EVACUATE, region="eu-west-1", apply=True)["status"] == "done"
    assert world.ask(operations.STATUS)["plan"]["notes"] == ()


@pytest.mark.slow
def test_hold_before_apply_does_nothing_and_says_so(world: World) -> None:
    world.kill("eu-west-1")
    for _ in range(3):
        world.minute()
    assert world.marks() == {}
    world.apply()
    world.minute()
    world.minute()
    assert world.marks() == {"eu-west-1": "hold_down"}


def test_the_last_region_that_takes_users_is_not_evacuated(world: World) -> None:
    world.with_buckets()
    world.kill("us-east-1")
    assert world.ask(operations.EVACUATE, region="eu-west-1", apply=True)["status"] == "done"
    refused = world.ask(operations.EVACUATE, region="ap-southeast-1", apply=True)
    assert refused["status"] == "refused" and "last region" in refused["message"]
    world.mend("us-east-1")
    assert world.ask(operations.EVACUATE, region="ap-southeast-1", apply=True)["status"] == "done"


def test_evacuation_works_from_any_region_while_the_region_s_own_services_are_away(world: World) -> None:
    world.with_buckets()
    world.silence("eu-west-1")
    world.kill("eu-west-1")
    assert world.ask(operations.EVACUATE, "ap-southeast-1", region="eu-west-1", apply=True)["status"] == "done"


@pytest.mark.slow
def test_a_region_that_dies_comes_back_only_after_it_was_quiet(world: World) -> None:
    world.with_buckets()
    world.minute()
    world.kill("eu-west-1")
    world.minute()
    assert world.marks() == {}
    world.minute()
    assert world.marks() == {"eu-west-1": "hold_down"}
    world.mend("eu-west-1")
    for _ in range(5):
        world.minute()
        assert world.marks() == {"eu-west-1": "hold_down"}
    world.minute()
    assert world.marks() == {} and world.route53.requests == []


def test_without_the_coordination_table_nobody_is_held_down_and_the_runs_go_on(world: World) -> None:
    world.with_buckets()
    kept = world.shared

    def silent(call: str) -> None:
        raise Unavailable("no replica answers")

    world.shared = MemoryTable(kept.store, silent)
    world.kill("eu-west-1")
    for _ in range(3):
        world.minute()
    assert world.marks() == {}
    world.shared = kept
    world.minute()
    world.minute()
    assert world.marks() == {"eu-west-1": "hold_down"}


def test_one_report_that_is_unreadable_counts_for_nothing_and_is_told_and_replaced(world: World) -> None:
    world.with_buckets()
    world.shared.create(REPORT_PK, "us-east-1", {"schema": 1, "at": "yesterday"})
    world.kill("eu-west-1")
    world.fire(operations.HOLD, "ap-southeast-1")
    assert world.kinds() == ["UnreadableItem"]
    for _ in range(2):
        world.minute()
    assert world.marks() == {"eu-west-1": "hold_down"}


def test_a_doubled_event_is_no_second_failure(world: World) -> None:
    world.with_buckets()
    world.kill("eu-west-1")
    world.minute()
    world.minute(after=0)
    world.minute(after=2)
    assert world.marks() == {}
    world.minute(after=58)
    assert world.marks() == {"eu-west-1": "hold_down"}


def test_an_event_that_comes_late_does_not_shorten_the_quiet_time(world: World) -> None:
    world.with_buckets()
    world.kill("eu-west-1")
    world.minute()
    world.minute()
    world.mend("eu-west-1")
    world.minute(late=3600)
    world.minute()
    assert world.marks() == {"eu-west-1": "hold_down"}


@pytest.mark.slow
def test_people_know_of_a_region_that_is_held_down(world: World) -> None:
    world.with_buckets()
    world.kill("eu-west-1")
    world.minute()
    assert world.kinds() == []
    world.minute()
    assert world.kinds() == ["RegionHeldDown"]
    world.mend("eu-west-1")
    for _ in range(5):
        world.minute()
        assert world.kinds() == ["RegionHeldDown"]
    world.minute()
    assert world.kinds() == ["RegionHeldDown", "RegionHeldDown ended"]


@pytest.mark.slow
def test_a_break_in_the_quiet_time_begins_it_anew(world: World) -> None:
    world.with_buckets()
    world.kill("eu-west-1")
    for _ in range(2):
        world.minute()
    world.mend("eu-west-1")
    for _ in range(3):
        world.minute()
    world.kill("eu-west-1")
    world.minute()
    world.mend("eu-west-1")
    for _ in range(5):
        world.minute()
        assert world.marks() == {"eu-west-1": "hold_down"}
    world.minute()
    assert world.marks() == {}


@pytest.mark.parametrize("body", [b"stop", b"", b"\xff\xfe", b'{"x":' + b"[" * 100_000, b'{"by": {}}'])
def test_somebody_s_own_object_evacuates_as_well(world: World, body: bytes) -> None:
    world.with_buckets()
    world.s3["us-east-1"].objects["marks-us-east-1", "evacuated/eu-west-1"] = body
    rows = world.ask(operations.STATUS)["plan"]["report"]["regions"]
    assert not rows[0]["serves"] and "did not write" in rows[0]["kept away"]


@pytest.mark.parametrize("operation", operations.ALL, ids=lambda operation: operation.name)
def test_without_the_table_every_operation_refuses(operation: Any, world: World) -> None:
    plain = fleets.parse('name = "a"\nregions = [{name = "eu-west-1"}]\ncoordination.regions = ["eu-west-1"]\n')
    site = RegionContext(
        region="eu-west-1",
        stage="test",
        fleet=plain,
        shared_store=MemoryTable(),
        local_store=MemoryTable(),
        queues={},
        alerts=MemoryTopic(),
    )
    event = {"region": "eu-west-1"} if "region" in operation.parameters.__struct_fields__ else {}
    outcome = engine.run(operation, site, event)
    assert outcome["status"] == "refused" and "no table [routing]" in outcome["message"]
