"""Every operation of routing with one lost answer for each of its external calls: nothing doubled, lost or silent."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.config.declared import Fleet
from chalicelib.engine.operation import RunFailed
from chalicelib.routing import observe, operations, probe
from chalicelib.routing.records import build
from testing.lost_answers import Calls, check_every_lost_answer
from tests.routing.harness import THREE, World

SLOWER = "interval = 30\n"
# us-east-1 keeps the flag of eu-west-1.
KEEPER = THREE[1]


WANTED: dict[str, build.Wanted] = {}


def wanted_once(fleet: Fleet, stage: str, wanted: Callable[[Fleet, str], build.Wanted] = build.wanted) -> build.Wanted:
    """Pure, and the same in hundreds of scenarios, so it is computed once."""
    key = f"{fleet} {stage}"
    if key not in WANTED:
        WANTED[key] = wanted(fleet, stage)
    return WANTED[key]


class OneAfterAnother:
    """In the place of a pool of threads: each call has its number, the same in each run of a scenario."""

    def __init__(self, workers: int) -> None:
        pass

    def __enter__(self) -> "OneAfterAnother":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, do: Callable[[str], Any], names: Iterable[str]) -> Iterator[Any]:
        return map(do, names)


class Endpoints(World):
    """Three regions whose endpoints need no sockets."""

    def __init__(self) -> None:
        self.dead: set[str] = set()
        super().__init__()
        self.addresses, self.port = [f"192.0.2.{number}" for number in (1, 2, 3)], 443

    def mend(self, region: str) -> None:
        self.dead.discard(self.addresses[THREE.index(region)])

    def kill(self, region: str) -> None:
        self.dead.add(self.addresses[THREE.index(region)])

    def connects(self, host: str) -> bool:
        """Whether the endpoint of the address `host` answers."""
        return host not in self.dead


@contextlib.contextmanager
def fleet(calls: Calls) -> Iterator[World]:
    """Three regions. In `calls.counted()` the answer of a port may get lost, and that of an endpoint as well."""
    world = Endpoints()
    world.wrap = calls.wrap_context

    def asked(host: str, port: int) -> bool:
        try:
            return calls.call("endpoint", lambda: world.connects(host))
        except Unavailable as error:
            raise OSError(str(error)) from None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "_connects", asked)
        patch.setattr(observe, "ThreadPoolExecutor", OneAfterAnother)
        patch.setattr(build, "wanted", wanted_once)
        yield world


def outside(world: World) -> list[Any]:
    """All that operations of routing can change in AWS."""
    return [list(world.records), dict(world.route53.checks),
            *[(dict(s3.buckets), dict(s3.public_access), dict(s3.objects)) for s3 in world.s3.values()]]


def is_complete(world: World, more: str = "") -> bool:
    """Whether Route 53 has each check once and all records, and health checkers may read the flags."""
    names = [check.reference.split(":")[2] for check in world.route53.checks.values()]
    policies = [json.loads(s3.buckets[f"marks-{region}"] or "{}") for region, s3 in world.s3.items()]
    used = {record["HealthCheckId"] for record in world.records if "HealthCheckId" in record}
    return (len(names) == len(set(names)) == 9 and all(policies) and used <= set(world.route53.checks)
            and len(world.records) == 89 and world.ask(operations.APPLY, more=more)["message"] == "nothing to do")


def failed(outcome: dict[str, Any]) -> bool:
    """Whether a person who asked by hand is told that AWS did not answer."""
    return outcome["status"] == "failed" and "AWS did not answer" in outcome["message"]


def lose_two_checks(world: World) -> None:
    """Somebody takes two checks from the records and deletes them. Their references stay taken."""
    for record in world.records:
        record.pop("HealthCheckId", None)
    for name in ("serving-us-east-1", "open-us-east-1"):
        [id] = [id for id, check in world.route53.checks.items() if f":{name}:" in check.reference]
        world.route53.delete_health_check(id)


def first_step(world: World) -> None:
    """Nothing is there yet: buckets and checks are made."""


def second_step(world: World) -> None:
    """The checks are there: records are made."""
    world.ask(operations.APPLY, apply=True)


def deleted_checks(world: World) -> None:
    """Two checks are made anew, by other references."""
    world.apply()
    lose_two_checks(world)


@pytest.mark.slow
@pytest.mark.parametrize("before", [first_step, second_step, deleted_checks])
def test_apply_with_one_lost_answer_makes_all_of_it_once(before: Callable[[World], None]) -> None:
    def scenario(calls: Calls) -> None:
        with fleet(calls) as world:
            before(world)
            with calls.counted():
                outcome = world.ask(operations.APPLY, apply=True)
            # One bucket that nobody could look at does not keep the others' records away.
            assert outcome["status"] in ("later", "done") or failed(outcome)
            world.apply()
            assert is_complete(world)

    check_every_lost_answer(scenario, least_calls=5)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_apply_of_other_checks_with_one_lost_answer_ends_with_those_alone(steps: int) -> None:
    """The new checks are made, then the records changed, then the old checks deleted."""
    def scenario(calls: Calls) -> None:
        with fleet(calls) as world:
            world.apply()
            for _ in range(steps):
                world.ask(operations.APPLY, more=SLOWER, apply=True, force=True)
            with calls.counted():
                outcome = world.ask(operations.APPLY, more=SLOWER, apply=True, force=True)
            assert outcome["status"] in ("later", "done") or failed(outcome)
            world.apply(SLOWER, force=True)
            assert is_complete(world, SLOWER)

    check_every_lost_answer(scenario, least_calls=5)


def test_plan_with_one_lost_answer_changes_nothing_and_says_what_it_has_not_seen() -> None:
    def scenario(calls: Calls) -> None:
        with fleet(calls) as world:
            before = outside(world)
            with calls.counted():
                outcome = world.ask(operations.PLAN)
            is_whole = outcome["message"] == "3 x prepare-flag-bucket, 9 x create-check"
            assert failed(outcome) or is_whole or "does not answer" in str(outcome["plan"]["notes"])
            assert is_whole or calls.is_lost
            assert outside(world) == before

    check_every_lost_answer(scenario, least_calls=5)


@pytest.mark.slow
def test_drift_with_one_lost_answer_is_heard_of_by_the_next_run_and_changes_nothing() -> None:
    def scenario(calls: Calls) -> None:
        with fleet(calls) as world:
            world.apply()
            world.records = world.records[1:]
            before = outside(world)
            with calls.counted(), contextlib.suppress(RunFailed, Unavailable):
                world.fire(operations.DRIFT)
            world.now += 60
            world.fire(operations.DRIFT)
            # Delivery is at least once.
            assert world.kinds() in (["RoutingDrift"], ["RoutingDrift"] * 2)
            assert outside(world) == before

    check_every_lost_answer(scenario, least_calls=5)


@pytest.mark.slow
def test_drift_of_a_bucket_that_gives_no_answer_once_does_not_end() -> None:
    def scenario(calls: Calls) -> None:
        with fleet(calls) as world:
            world.apply()
            policy = world.s3[KEEPER].buckets[f"marks-{KEEPER}"]
            world.s3[KEEPER].buckets[f"marks-{KEEPER}"] = None
            world.fire(operations.DRIFT)
            world.now += 60
            with calls.counted(), contextlib.suppress(RunFailed, Unavailable):
                world.fire(operations.DRIFT)
            world.now += 60
            world.fire(operations.DRIFT)
            assert world.kinds() == ["RoutingDrift"]
            world.s3[KEEPER].buckets[f"marks-{KEEPER}"] = policy
            world.now += 60
            world.fire(operations.DRIFT)
            assert world.kinds() == ["RoutingDrift", "RoutingDrift ended"]

    check_every_lost_answer(scenario, least_calls=5)


def journal_says(world: World, region: str, action: str) -> bool:
    """Whether the journal of `region` has the action."""
    return any(action in str(item.body) for item, _, _ in world.tables[region].store.items.values())


@pytest.mark.slow
def test_evacuate_with_one_lost_answer_evacuates_that_region_alone() -> None:
    def scenario(calls: Calls) -> None:
        with fleet(calls) as world:
            world.with_buckets()
            with calls.counted():
                outcome = world.ask(operations.EVACUATE, THREE[2], region=THREE[0], reason="works", apply=True)
            assert outcome["status"] == "done" or failed(outcome)
            assert outcome["status"] != "done" or world.marks() == {THREE[0]: "manual"}
            assert world.ask(operations.EVACUATE, THREE[2], region=THREE[0], apply=True)["status"] == "done"
            assert world.marks() == {THREE[0]: "manual"}
            assert journal_says(world, THREE[2], "set-evacuation-flag")

    check_every_lost_answer(scenario, least_calls=5)


@pytest.mark.slow
def test_evacuate_of_the_last_region_with_one_lost_answer_is_refused() -> None:
    """The lost answer may be the flag of a region that users stay away from already."""
    def scenario(calls: Calls) -> None:
        with fleet(calls) as world:
            world.with_buckets()
            world.kill(THREE[1])
            world.ask(operations.EVACUATE, region=THREE[2], apply=True)
            with calls.counted():
                outcome = world.ask(operations.EVACUATE, region=THREE[0], apply=True)
            world.mend(THREE[1])
            assert "last region" in outcome["message"] or failed(outcome)
            assert world.marks() == {THREE[2]: "manual"}

    check_every_lost_answer(scenario, least_calls=5)


@pytest.mark.slow
def test_restore_with_one_lost_answer_takes_that_flag_alone_away() -> None:
    def scenario(calls: Calls) -> None:
        with fleet(calls) as world:
            world.with_buckets()
            for region in THREE[:2]:
                world.ask(operations.EVACUATE, THREE[2], region=region, reason="works", apply=True)
            with calls.counted():
                outcome = world.ask(operations.RESTORE, THREE[2], region=THREE[0], apply=True)
            assert outcome["status"] == "done" or failed(outcome)
            assert outcome["status"] != "done" or world.marks() == {THREE[1]: "manual"}
            assert world.ask(operations.RESTORE, THREE[2], region=THREE[0], apply=True)["status"] == "done"
            assert world.marks() == {THREE[1]: "manual"}
            assert journal_says(world, THREE[2], "clear-evacuation-flag")

    check_every_lost_answer(scenario, least_calls=5)


@pytest.mark.slow
def test_hold_with_one_lost_answer_keeps_users_away_a_minute_later_at_most() -> None:
    def scenario(calls: Calls) -> None:
        with fleet(calls) as world:
            world.with_buckets()
            world.minute()
            world.kill(THREE[0])
            world.minute()
            world.now += 60
            with calls.counted(), contextlib.suppress(RunFailed, Unavailable):
                world.fire(operations.HOLD, KEEPER)
            world.minute()
            assert world.marks() == {THREE[0]: "hold_down"}
            assert journal_says(world, KEEPER, "set-evacuation-flag") and world.route53.requests == []

    check_every_lost_answer(scenario, least_calls=5)


@pytest.mark.slow
def test_hold_with_one_lost_answer_gives_a_quiet_region_its_users_back() -> None:
    def scenario(calls: Calls) -> None:
        with fleet(calls) as world:
            world.with_buckets()
            world.kill(THREE[0])
            for _ in range(2):
                world.minute()
            world.mend(THREE[0])
            for _ in range(5):
                world.minute()
            assert world.marks() == {THREE[0]: "hold_down"}
            world.now += 60
            with calls.counted(), contextlib.suppress(RunFailed, Unavailable):
                world.fire(operations.HOLD, KEEPER)
            # An answer that the endpoint did not give begins the quiet time of five minutes anew.
            minutes = 0
            while world.marks():
                world.minute()
                minutes += 1
            assert minutes <= 6 and journal_says(world, KEEPER, "clear-evacuation-flag")
            assert minutes <= 1 or calls.names[-1] != "endpoint"

    check_every_lost_answer(scenario, least_calls=5)


@pytest.mark.slow
def test_status_with_one_lost_answer_says_what_it_has_not_seen_and_changes_nothing() -> None:
    def scenario(calls: Calls) -> None:
        with fleet(calls) as world:
            world.ask(operations.EVACUATE, region=THREE[0], reason="works", apply=True)
            before, items = outside(world), {name: dict(table.store.items) for name, table in world.tables.items()}
            with calls.counted():
                outcome = world.ask(operations.STATUS)
            rows = {row["region"]: row for row in (outcome.get("plan") or {}).get("report", {}).get("regions", ())}
            assert failed(outcome) or rows[THREE[0]]["kept away"] in ("by hand, from 2026-03-28 12:00Z on", "not known")
            assert outside(world) == before
            assert {name: dict(table.store.items) for name, table in world.tables.items()} == items

    check_every_lost_answer(scenario, least_calls=5)
