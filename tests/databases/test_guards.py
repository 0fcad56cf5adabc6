"""Each guard by itself: what it prevents, and that without it that happens."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from chalicelib.config import fleet
from chalicelib.databases import act, act_promotion, decide
from chalicelib.databases.decide import conditions, promotion, repair, steps
from chalicelib.databases.observe import RegionAsked
from chalicelib.databases.state import PRIMARY_KEY, PrimaryRecord, Promotion, body
from chalicelib.engine import state
from chalicelib.engine.operation import Rejected, Request
from chalicelib.engine.schema import Stored
from testing.fakes import MemoryTable
from tests.databases.crash import Crash
from tests.databases.harness import AP, EU, TOML, US, World, in_step


def both_writable() -> bool:
    """The old primary cannot be closed; is the new one opened all the same?"""
    found = in_step()
    found.promote(US, region=US)
    return sum(not model.read_only for model in found.models.values()) > 1


def closed_for_nothing(prepare: Callable[[World], None]) -> Callable[[], bool]:
    """Is the primary closed for a promotion that cannot end well?"""

    def scenario() -> bool:
        found = in_step()
        prepare(found)
        assert found.promote(US, region=US)["status"] == "refused"
        return found.models[EU].read_only

    return scenario


def other_is_ahead(found: World) -> None:
    found.models[US].stop("IO")
    found.models[EU].write()
    for _ in range(9):
        found.wait(0.1)


def cannot_apply(found: World) -> None:
    found.models[US].sql, found.models[US].sql_errno = "stopped", 1062
    found.models[EU].write()
    for _ in range(9):
        found.wait(0.1)
    found.models[AP].alive = False


def wrong_choice() -> bool:
    """The primary is gone; does the choice fall on a replica whose relay log cannot be used?"""
    found = in_step()
    found.models[US].stop("SQL")
    found.models[EU].write()
    for _ in range(9):
        found.wait(0.1)
    found.models[AP].stop("IO")
    found.models[EU].write()
    for _ in range(9):
        found.wait(0.1)
    found.models[US].stop("IO")
    assert (len(found.models[US].relay), len(found.models[US].log), len(found.models[AP].log)) == (2, 5, 6)
    found.models[EU].alive = False
    found.forced = True
    found.promote(AP, force="burnt")
    return found.primary.region != AP


def unapplied_lost() -> bool:
    """Is what waits in the relay log of the chosen replica lost?"""
    found = in_step()
    found.models[US].stop("SQL")
    row = found.models[EU].write()
    for _ in range(9):
        found.wait(0.1)
    found.models[US].sql = "running"
    found.models[EU].alive = False
    found.forced = True
    found.promote(US, region=US, force="burnt")
    assert found.primary.region == US
    return row not in found.models[US].log


def under_way_refused() -> bool:
    """Is a promotion given up for rows that are only still on their way?"""
    found = in_step()
    for _ in range(50):
        found.models[EU].write()
    return bool(found.promote(US, region=US)["status"] != "done")


def stale_promotion_goes_on() -> bool:
    """Does a run whose term is over still open its server?"""
    found = in_step()
    request = Request("manual", int(found.now), RegionAsked(US), apply=True)
    operation = found.operations.promote
    plan = operation.decide(operation.observe(found.site(US), request), request)
    operation.act["claim"](found.site(US), request, plan.actions[:1])
    assert found.promote(AP, region=AP)["status"] == "done"
    for action in plan.actions[1:]:
        try:
            operation.act[action.kind](found.site(US), request, [action])
        except Rejected:
            break
    return not found.models[US].read_only


def healed_in_the_middle() -> bool:
    """Does healing start what a promotion has stopped?"""
    found = in_step()
    found.fuse.after(4)
    with pytest.raises(Crash):
        found.promote(US, region=US)
    found.fuse.after(10_000)
    assert found.models[US].io == "stopped"
    found.scheduled(US, "heal")
    return found.models[US].io == "running"


def started(prepare: Callable[[World], None], region: str = US) -> Callable[[], bool]:
    """Is a thread that stands still started?"""

    def scenario() -> bool:
        found = in_step()
        found.models[region].stop("SQL")
        prepare(found)
        found.scheduled(region, "heal")
        return found.models[region].sql == "running"

    return scenario


def no_tunnel(found: World) -> None:
    found.fleet = fleet.parse(TOML + f'[tunnels]\nprimary = "{EU}"\n')
    found.judged(US, 0, 2, 0)


def duplicate(found: World) -> None:
    found.models[US].sql_errno = 1062


def just_restarted(found: World) -> None:
    found.scheduled(US, "heal")
    found.now += 60
    found.models[US].stop("SQL")
    found.scheduled(US, "heal")
    found.now += 60
    found.models[US].stop("SQL")
    assert found.models[US].sql == "stopped"


def beats_on_a_replica() -> bool:
    """Does a replica that takes writes get a heartbeat of its own, and so a transaction that the primary lacks?"""
    found = in_step()
    found.models[US].read_only = False
    found.now += 60
    found.scheduled(US, "watch")
    return US in found.models[US].beats


def the_new_primary_is_fenced() -> bool:
    """Does a watch that saw an older table close the server that has just become the primary?"""
    found = in_step()
    found.models[US].read_only = False
    old = PrimaryRecord(EU, 1)
    found.fuse.site(found.site(US)).shared_store.create(*PRIMARY_KEY, body(old))
    request = Request("schedule", int(found.now) + 60, None, apply=True, id="slow")
    watch = found.operations.watch
    plan = watch.decide(watch.observe(found.site(US), request), request)
    item = found.fuse.site(found.site(US)).shared_store.get(*PRIMARY_KEY)
    assert item and plan.actions[0].kind == "fence"
    found.fuse.site(found.site(US)).shared_store.compare_and_set(item, body(PrimaryRecord(US, 2)))
    watch.act["fence"](found.site(US), request, plan.actions[:1])
    return found.models[US].read_only


def restored_table_closes() -> bool:
    """The primary's record is gone by the time that a watch acts: is the declared primary closed?"""
    found = in_step()
    table = found.fuse.site(found.site(US)).shared_store
    table.create(*PRIMARY_KEY, body(PrimaryRecord(US, 1)))
    request = Request("schedule", int(found.now) + 60, None, apply=True, id="slow")
    watch = found.operations.watch
    plan = watch.decide(watch.observe(found.site(EU), request), request)
    item = table.get(*PRIMARY_KEY)
    assert item and plan.actions[0].kind == "fence"
    table.delete(item)
    watch.act["fence"](found.site(EU), request, plan.actions[:1])
    return found.models[EU].read_only


def restarted_twice() -> bool:
    """Does each of two runs of the same minute, which overlap, start the threads?"""
    found = in_step()
    found.models[US].stop("SQL")
    starts = list[Any]()
    monitored: Any = found.models[US]
    monitored.start = starts.append
    found.now += 60
    both = list[bool]()

    def another(call: str) -> None:
        if call == "create" and not both:
            both.append(True)
            found.scheduled(US, "heal")

    found.tables[US] = MemoryTable(found.tables[US].store, another)
    found.scheduled(US, "heal")
    assert both
    return len(starts) > 1


def closed_and_gone() -> bool:
    """The old primary is closed, and gone before the replica has fetched its last rows: are they lost unforced?"""
    found = in_step()
    found.models[EU].write()

    def die() -> None:
        found.models[EU].alive = not found.models[EU].read_only

    found.fuse.meanwhile = die
    found.models[US].read_status()
    found.promote(US, region=US)
    return found.primary.region == US


def unconditional(store: Any, key: Any, schema: Any, before: Any, value: Any, *, run_id: str) -> None:
    """A claim that asks for no version."""
    state.publish(store, key, schema, value, run_id=run_id)


def believed(store: Any, key: Any, schema: Any, *, run_id: str) -> Any:
    """The state, whoever wrote it last."""
    return state.find(store, key, schema)


def nothing(*_: object) -> Any:
    return iter(())


GUARDS: dict[str, tuple[Callable[[], bool], list[tuple[ModuleType, str, Callable[..., Any]]]]] = {
    "the old primary is closed first": (both_writable, [
        (act_promotion, "_closed", lambda *_: steps.Verdict()), (steps, "old_primary", lambda *_: steps.OldPrimary())]),
    "the most advanced, or nobody": (closed_for_nothing(other_is_ahead), [(promotion, "_more", nothing)]),
    "what cannot be applied does not count": (closed_for_nothing(cannot_apply), [(promotion, "_stuck", nothing)]),
    "a relay log that a start would empty does not count": (
        wrong_choice, [(promotion, "gtids_after_promotion", lambda look: look.retrieved_gtids)]),
    "what was received is applied": (
        unapplied_lost, [(steps, "next_move", lambda *_: "done")]),
    "what is under way is waited for": (under_way_refused, [(steps, "fetched", lambda *_: True)]),
    "what it had when it was closed is known": (closed_and_gone,
                                                [(steps, "old_primary", lambda *_: steps.OldPrimary(answers=False))]),
    "a term that is over ends the run": (stale_promotion_goes_on, [(steps, "under_way", lambda found, step: (
        steps.UnderWay(Stored(PrimaryRecord(EU, 1, promotion=Promotion(US, EU, "claimed", 0)), found.version),
                       Promotion(US, EU, "claimed", 0))))]),
    "healing leaves promotions alone": (healed_in_the_middle, [(repair, "repair_forbidden", lambda *_: "")]),
    "no restart without a tunnel": (started(no_tunnel), [(repair, "tunnels", lambda *_: "")]),
    "an event that fails is not tried again": (started(duplicate), [(repair, "permanent_errors", nothing)]),
    "restarts cool down": (started(just_restarted), [(repair, "budget_exhausted", lambda *_: "")]),
    "the heart beats on the primary alone": (beats_on_a_replica, [(decide, "beats", lambda *_: True)]),
    "the table is read again before a fence": (
        the_new_primary_is_fenced, [(act, "_primary", lambda site: Stored(PrimaryRecord("nobody", 1), 9))]),
    "one run of a minute restarts": (restarted_twice, [(state, "claim", unconditional), (state, "current", believed)]),
    "a table that was restored closes no writer": (restored_table_closes, [
        (conditions, "fence_refused", lambda *_: "")]),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_with_the_guard_it_does_not_happen(guard: str) -> None:
    scenario, _ = GUARDS[guard]
    assert not scenario()


@pytest.mark.parametrize("guard", GUARDS)
def test_without_the_guard_it_does(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, without = GUARDS[guard]
    for module, name, instead in without:
        monkeypatch.setattr(module, name, instead)
    assert scenario()
