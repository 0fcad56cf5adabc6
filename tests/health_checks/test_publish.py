"""What the other regions are told: the parent's id, under `region-check`/`<region>` of the coordination table."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from chalicelib.aws import client
from chalicelib.config.declared import HealthChecks
from chalicelib.engine import state
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action
from chalicelib.engine.schema import Stored
from chalicelib.health_checks import act, decide
from chalicelib.health_checks.state import (
    KEY,
    SCHEMA,
    CalculatedCheck,
    Check,
    CheckChange,
    Host,
    Publication,
    RotationObservation,
    RotationState,
)
from testing.fakes import MemoryTable
from tests.health_checks.harness import NOON, Street
from tests.health_checks.test_operations import BEGUN

MINUTE = NOON // 60
HOSTS = {f"i-{n}": Host(f"i-{n}", f"192.0.2.{n}") for n in range(1, 7)}
CHECKS = tuple(Check(n, f"c{n}", 1, f"i-{n}", f"192.0.2.{n}", NOON - 900, MINUTE - 15, True, True, NOON - 60.0)
               for n in range(1, 7))
PARENT = CalculatedCheck((1, 2, 3, 4), 2, "parent", 3, NOON - 900)


def acts(parent: CalculatedCheck | None, published: str | None, hosts: dict[str, Host] = HOSTS) -> list[Publication]:
    """What is to be published."""
    memory = RotationState(MINUTE - 1, CHECKS, parent)
    seen = RotationObservation("eu-west-1", HealthChecks(target_groups=("web",)), Stored(memory), hosts, NOON,
                               published_id=published)
    found = [action for action in decide.reconcile(seen, NOON).actions if action.kind == "publish"]
    assert all(action.target == "eu-west-1" and not action.unaudited for action in found)
    return [action.details for action in found]


@pytest.mark.parametrize(("parent", "published", "expected"), [
    (PARENT, "", [Publication("parent", "")]),
    (PARENT, "another", [Publication("parent", "another")]),
    (PARENT, "parent", []),
    (PARENT, None, []),
    (None, None, []),
    (msgspec.structs.replace(PARENT, confirmed=False), "", []),
])
def test_a_confirmed_parent_is_published_if_the_table_says_otherwise(
    parent: CalculatedCheck | None, published: str | None, expected: list[Publication]
) -> None:
    assert acts(parent, published) == expected


def test_it_is_published_also_while_there_are_no_hosts() -> None:
    assert acts(PARENT, "", {}) == [Publication("parent", "")]


def test_it_comes_last_so_that_nothing_waits_for_it() -> None:
    memory = RotationState(MINUTE - 1, CHECKS, PARENT)
    seen = RotationObservation(
        "eu-west-1",
        HealthChecks(target_groups=("web",)),
        Stored(memory),
        HOSTS | {"i-7": Host("i-7", "192.0.2.7")},
        NOON,
        published_id="",
    )
    kinds = [action.kind for action in decide.reconcile(seen, NOON).actions]
    assert kinds[-1] == "publish" and "retarget-check" in kinds


@pytest.fixture
def street() -> Street:
    """Ten hosts; the checks do not exist yet."""
    return Street(10)


def parent_of(street: Street) -> str:
    """The parent's id, by Route 53 itself."""
    [id] = [check.id for check in street.service.account.checks.values() if check.kind == "CALCULATED"]
    return id


def published(street: Street) -> str | None:
    """What routing would read."""
    item = street.site.shared_store.get("region-check", "eu-west-1")
    return str(item.body["id"]) if item else None


def journal(street: Street) -> list[str]:
    """The kinds of all acts in the journal."""
    entries = street.table.query("journal#2026-03-28")
    return [action["kind"] for entry in entries for action in entry.body["actions"]]


@pytest.mark.slow
def test_the_parent_is_published_once_and_journalled(street: Street) -> None:
    street.turns(BEGUN)
    assert published(street) == parent_of(street)
    street.turns(5)
    item = street.site.shared_store.get("region-check", "eu-west-1")
    assert item and item.version == 1
    assert journal(street).count("publish") == 1


@pytest.mark.slow
def test_it_has_no_ttl(street: Street) -> None:
    street.turns(BEGUN)
    assert list(street.site.shared_store.scan_expired(2**40)) == []


def test_nothing_is_read_before_there_is_a_parent(street: Street) -> None:
    asked = broken(street, lambda: None)
    street.turns(1)
    assert asked == [] and street.memory.parent is None


@pytest.mark.slow
def test_it_is_read_once_a_minute(street: Street) -> None:
    street.turns(BEGUN)
    asked = broken(street, lambda: None)
    street.turns(4)
    assert asked == ["get"] * 4


def broken(street: Street, trouble: Callable[[], None]) -> list[str]:
    """Puts `trouble` before each call of the coordination table; gives the calls."""
    asked: list[str] = []
    before = True

    def fault(call: str) -> None:
        nonlocal before
        if before:
            asked.append(call)
            trouble()
        before = not before

    old = street.site.shared_store
    assert isinstance(old, MemoryTable)
    street.site = msgspec.structs.replace(street.site, shared_store=MemoryTable(old.store, fault))
    return asked


def whole(street: Street) -> None:
    """The coordination table answers again."""
    old = street.site.shared_store
    assert isinstance(old, MemoryTable)
    street.site = msgspec.structs.replace(street.site, shared_store=MemoryTable(old.store))


@pytest.mark.slow
@pytest.mark.parametrize("silence", [0, 10], ids=["refused at once", "after ten seconds"])
def test_without_the_coordination_table_the_checks_rotate_all_the_same(street: Street, silence: int) -> None:
    def trouble() -> None:
        street.wait(silence)
        raise client.Unavailable("no replica answers")

    asked = broken(street, trouble)
    street.turns(BEGUN)
    assert street.verdict() and set(asked) == {"get"}
    gone = sorted(street.fixed_checks())[0]
    street.drop(gone)
    looked: set[str] = set()
    for _ in range(12):
        assert street.turn()["status"] == "done"
        looked |= {check.host for check in street.memory.checks}
    assert looked >= set(street.hosts) and gone not in street.fixed_checks() and street.verdict()
    # Tried when the parent was made; then it is not even known what the table says.
    assert journal(street).count("publish") == 1
    whole(street)
    assert published(street) is None
    street.turn()
    assert published(street) == parent_of(street)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["create", "compare_and_set"])
def test_if_the_writing_fails_it_is_written_in_a_later_minute(street: Street, call: str) -> None:
    if call == "compare_and_set":
        street.site.shared_store.create("region-check", "eu-west-1", {"id": "another", "schema": 1})

    def trouble() -> None:
        if asked[-1] == call:
            raise client.Unavailable("no replica answers")

    asked = broken(street, trouble)
    results = [result for _ in range(BEGUN) for result in street.turn().get("results", ())]
    assert "left for the next minute (no replica answers)" in results and street.verdict()
    whole(street)
    street.turn()
    assert published(street) == parent_of(street)


@pytest.mark.slow
def test_another_parent_takes_the_place_of_the_first(street: Street) -> None:
    street.turns(BEGUN)
    first = parent_of(street)
    for id in list(street.service.account.checks):
        street.service.call("DeleteHealthCheck", {"HealthCheckId": id})
        street.wait(1)
    item = street.table.get("health-checks", "state")
    assert item and street.table.delete(item)
    street.now = float(street.now // 60 * 60 + 60)
    street.turns(BEGUN)
    assert published(street) == parent_of(street) != first


def planned(street: Street) -> tuple[Request, list[Any]]:
    """A turn that has been remembered, and is about to publish."""
    street.turns(BEGUN)
    item = street.site.shared_store.get("region-check", "eu-west-1")
    assert item
    street.site.shared_store.compare_and_set(item, {"id": "another", "schema": 1})
    request = Request("schedule", int(street.now) + 60, None, apply=True, run_id="slow")
    street.wait(62)
    plan = street.operation.decide(street.operation.observe(street.site, request), request)
    assert plan.claim
    state.claim(street.table, KEY, SCHEMA, plan.claim.before, plan.claim.after, run_id="slow")
    return request, [action for action in plan.actions if action.kind == "publish"]


@pytest.mark.slow
def test_what_has_changed_since_it_was_seen_is_left_alone(street: Street) -> None:
    request, actions = planned(street)
    item = street.site.shared_store.get("region-check", "eu-west-1")
    assert item
    street.site.shared_store.compare_and_set(item, {"id": "newer", "schema": 1})
    assert act.publish(street.site, request, actions) == ["another run was faster"]
    assert published(street) == "newer"


@pytest.mark.slow
def test_a_turn_that_has_been_overtaken_publishes_nothing(street: Street) -> None:
    request, actions = planned(street)
    item = street.table.get("health-checks", "state")
    assert item and street.table.compare_and_set(item, item.body | {"run_id": "faster"})
    with pytest.raises(state.Superseded):
        act.publish(street.site, request, actions)
    assert published(street) == "another"


@pytest.mark.slow
def test_one_that_has_not_been_overtaken_does(street: Street) -> None:
    request, actions = planned(street)
    assert act.publish(street.site, request, actions) == [f"published {parent_of(street)}"]
    assert published(street) == parent_of(street)


@pytest.mark.slow
@pytest.mark.parametrize(("confirmed", "moves"), [(True, True), (False, False)])
def test_no_check_moves_while_route53_has_not_confirmed_the_calculated_one(
    confirmed: bool, moves: bool, street: Street
) -> None:
    """The move was weighed against children that may not be those there are."""
    street.turns(BEGUN)
    before = state.load(street.table, KEY, SCHEMA, RotationState(0, (), None))
    assert isinstance(before, Stored) and before.value.parent
    memory = msgspec.structs.replace(
        before.value, parent=msgspec.structs.replace(before.value.parent, confirmed=confirmed))
    state.claim(street.table, KEY, SCHEMA, before, memory, run_id="slow")
    check = before.value.checks[-1]
    now = next(one for one in street.service.account.checks.values() if one.id == check.id)
    change = CheckChange(check.number, {"IPAddress": now.config["IPAddress"]}, check.id, check.version)
    request = Request("schedule", int(street.now), None, apply=True, run_id="slow")
    results = act.update_checks(street.site, request, [Action("retarget-check", f"check {check.number}", "", change)],
                                lambda context: None)
    assert results == [f"check {check.number}: version {check.version + 1}" if moves else
                       f"check {check.number}: left, since Route 53 has not confirmed the calculated check"]
