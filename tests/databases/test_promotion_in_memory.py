"""What a promotion leaves behind, what goes on with it, and what obeys it, on servers in memory."""

import msgspec
import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.config import fleet
from chalicelib.databases import act_promotion
from chalicelib.databases.details import CloseWriter
from chalicelib.databases.state import PRIMARY_KEY, PrimaryRecord, Promotion, RegionReport, read
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Rejected, Request
from chalicelib.engine.plan import Action
from testing.fakes import MemoryTopic
from tests.databases.crash import Crash
from tests.databases.harness import AP, EU, TOML, US, World, in_step


def test_a_promotion_can_be_given_up_for_another_region() -> None:
    found = in_step()
    found.fuse.after(9)
    with pytest.raises(Crash):
        found.promote(US, region=US)
    found.fuse.after(10_000)
    assert found.promote(AP, region=AP)["status"] == "done", "the first has no replication any more"
    assert found.primary.region == AP and found.primary.term == 2 and found.models[US].read_only
    assert set(found.acked) <= set(found.models[AP].log) and found.violations == []


def test_the_digest_stays_while_the_same_would_be_done() -> None:
    found = in_step()
    before = engine.run(found.operations.promote, found.site(US), {"region": US}, "hand")
    found.models[EU].write()
    found.wait(5)
    after = engine.run(found.operations.promote, found.site(US), {"region": US}, "hand")
    assert before["digest"] == after["digest"] and after["status"] == "planned"
    found.models[AP].alive = False
    assert engine.run(found.operations.promote, found.site(US), {"region": US}, "hand")["digest"] != before["digest"]
    assert found.primary == PrimaryRecord(EU), "nothing was done"


def test_forcing_is_kept_for_the_run_that_goes_on() -> None:
    found = in_step()
    found.models[EU].alive, found.forced = False, True
    found.fuse.after(3)
    with pytest.raises(Crash):
        found.promote(US, region=US, force="burnt down")
    found.fuse.after(10_000)
    item = found.fuse.site(found.site(US)).shared_store.get(*PRIMARY_KEY)
    assert item and read(item.body, PrimaryRecord).promotion == msgspec.structs.replace(
        read(item.body, PrimaryRecord).promotion or Promotion("", "", "claimed", 0), forced="burnt down")
    assert found.promote(US)["status"] == "done"
    assert "forced: burnt down" in found.alerts[US].told[-1][1]


def test_a_force_that_is_given_later_than_the_claim_is_recorded_and_told() -> None:
    found = in_step()
    found.fuse.after(1)
    with pytest.raises(Crash):
        found.promote(US, region=US)
    found.fuse.after(10_000)
    found.models[EU].alive, found.forced = False, True
    assert found.promote(US)["status"] == "refused"
    recorded = list[str]()
    found.fuse.meanwhile = lambda: recorded.append(found.primary.promotion.forced if found.primary.promotion else "")
    assert found.promote(US, force="burnt down")["status"] == "done"
    # From its first step on, so that also another run goes on with it.
    assert recorded[0] == "" and set(recorded[1:-1]) <= {"burnt down", ""} and recorded[1] == "burnt down"
    assert "forced: burnt down" in found.alerts[US].told[-1][1]


def test_the_item_that_healers_obey() -> None:
    found = in_step()
    found.fuse.after(1)
    with pytest.raises(Crash):
        found.promote(US, region=US)
    found.fuse.after(10_000)
    item = found.fuse.site(found.site(US)).shared_store.get(*PRIMARY_KEY)
    assert item and {key: item.body[key] for key in ("region", "term", "fenced")} == {
        "region": EU, "term": 1, "fenced": (EU,)}
    found.promote(US)
    item = found.fuse.site(found.site(US)).shared_store.get(*PRIMARY_KEY)
    assert item and {key: item.body[key] for key in ("region", "term", "fenced", "since")} == {
        "region": US, "term": 1, "fenced": (EU,), "since": int(found.now)}


@pytest.mark.parametrize("earlier", ["nothing", "another term", "another step of the term"])
def test_a_record_that_went_back_closes_no_writer_and_only_a_force_goes_on(earlier: str) -> None:
    found = in_step()
    shared = found.fuse.site(found.site(US)).shared_store
    if earlier != "nothing":
        assert found.promote(AP, region=AP)["status"] == "done"
    if earlier == "another step of the term":
        found.fuse.after(3)
        with pytest.raises(Crash):
            found.promote(US, region=US)
        found.fuse.after(10_000)
    old = shared.get(*PRIMARY_KEY)
    assert found.promote(US, region=US, force="as in a drill")["status"] == "done"
    found.forced = True
    term = found.primary.term
    minute(found)
    items = found.fuse._table.store
    items.remove(*PRIMARY_KEY)
    if old:
        items.put(old, "", None)
    for _ in range(2):
        minute(found)
    assert [region for region in (EU, US, AP) if not found.models[region].read_only] == [US]
    for region in (EU, US, AP):
        assert [subject for subject, _ in found.alerts[region].told].count(
            f"PrimaryRecordWentBack: database in {region}") == 1
    assert found.promote(AP, region=US)["status"] == "refused"
    assert found.promote(AP, region=US, force="the table was restored")["status"] == "done"
    assert (found.primary.region, found.primary.term) == (US, term + 1) and not found.models[US].read_only
    minute(found)
    assert found.alerts[EU].told[-1][0].startswith(("Recovered: PrimaryRecordWentBack", "NotReplicating"))


def minute(found: World) -> None:
    """A minute of the watch in each region."""
    found.wait(60)
    for region in (EU, US, AP):
        found.scheduled(region, "watch")


def test_an_old_primary_that_rejoins_is_healed_like_any_other() -> None:
    found = in_step()
    found.promote(US, region=US)
    found.models[EU].change_source("us", 3306)
    for _ in range(9):
        found.wait(0.1)
    found.now += 60
    fenced = []
    for region in (US, EU):
        found.scheduled(region, "watch")
        fenced.append(found.primary.fenced)
    assert fenced == [(EU,), ()]
    found.models[EU].stop("SQL")
    found.scheduled(EU, "heal")
    assert found.models[EU].sql == "running"


def test_an_act_of_no_promotion_does_nothing() -> None:
    found = in_step()
    with pytest.raises(Rejected, match="term 7 is over"):
        act_promotion.fence_writers(
            found.site(US),
            Request("manual", 0, None, apply=True),
            [Action("set-read-only", EU, "", CloseWriter(US, 7, "", "set-read-only"))],
            found.fuse.reach,
        )
    assert not found.models[EU].read_only


@pytest.mark.parametrize("more", ["", f'[tunnels]\nprimary = "{EU}"\nmode = "off"\n'])
def test_what_was_said_of_tunnels_that_were_given_up_holds_nothing_back(more: str) -> None:
    found = in_step()
    found.judged(US, 0, 2, 86_400)
    found.fleet = fleet.parse(TOML + more)
    found.models[US].stop("SQL")
    found.scheduled(US, "heal")
    assert found.models[US].sql == "running"


def test_a_primary_that_no_longer_answers_is_remembered_as_it_was() -> None:
    found = in_step()
    before = reported(found, EU)
    found.models[EU].alive = False
    found.wait(60)
    found.scheduled(EU, "watch")
    after = reported(found, EU)
    assert before.reachable and before.executed_gtids and not after.reachable and after.at > before.at
    assert (after.executed_gtids, after.retrieved_gtids, after.id) == (before.executed_gtids, before.retrieved_gtids,
                                                                       before.id)


def reported(found: World, region: str) -> RegionReport:
    item = found.fuse.site(found.site(US)).shared_store.get("databases", region)
    assert item
    return read(item.body, RegionReport)


def silent(call: str) -> None:
    raise Unavailable("eu-west-1: no answer")


def test_a_promotion_that_nobody_could_be_told_of_is_done_all_the_same() -> None:
    found = in_step()
    found.alerts[US] = MemoryTopic(silent)
    answer = found.promote(US, region=US)
    assert answer["status"] == "done" and "the next watch tries again" in answer["results"][-1]
    assert found.primary.region == US and not found.primary.promotion
    found.alerts[US] = told = MemoryTopic()
    found.wait(60)
    found.scheduled(US, "watch")
    assert "Promoted: us-east-1 has the primary" in [subject for subject, _ in told.told]


@pytest.mark.parametrize(("name", "kind"), [("watch", "SQLThreadStopped"), ("heal", "ReplicationBroken")])
def test_what_could_not_be_told_is_told_in_the_next_minute(name: str, kind: str) -> None:
    found = in_step()
    found.models[US].stop("SQL")
    found.models[US].sql_errno = 1062
    found.alerts[US], before = MemoryTopic(silent), reported(found, US).at
    found.wait(60)
    found.scheduled(US, name)
    assert found.violations == [] and (name == "heal" or reported(found, US).at > before)
    for _ in range(3):
        found.alerts[US] = told = found.alerts[US] if found.alerts[US].told else MemoryTopic()
        found.wait(60)
        found.scheduled(US, name)
        assert [subject for subject, _ in told.told].count(f"{kind}: database in {US}") == 1


@pytest.mark.parametrize("region, verdict, starts", [
    (US, None, False), (US, (2, 2, 0), True), (US, (1, 2, 60), True), (US, (0, 2, 0), False), (US, (2, 2, 121), False)])
def test_where_there_are_tunnels_their_verdict_in_the_ledger_decides(
    region: str, verdict: tuple[int, int, int] | None, starts: bool
) -> None:
    found = in_step()
    found.fleet = fleet.parse(TOML + f'[tunnels]\nprimary = "{EU}"\n')
    found.models[region].stop("SQL")
    if verdict:
        found.judged(region, *verdict)
    found.scheduled(region, "heal")
    assert (found.models[region].sql == "running") == starts


def test_restart_by_an_event_that_came_late_is_not_repeated_by_the_next_event() -> None:
    found = in_step()
    model = found.models[US]
    for late in (3600, 0, 0):
        model.io = "stopped"
        found.scheduled(US, "heal", late)
        assert model.io == ("running" if late else "stopped")
        found.wait(20)
    found.wait(30)
    found.scheduled(US, "heal")
    assert model.io == "running" and found.violations == []


def test_a_restart_by_a_clock_that_was_ahead_holds_up_no_other_beyond_its_wait() -> None:
    found = in_step()
    model, ahead = found.models[US], 6 * 3600
    model.io = "stopped"
    found.now += ahead
    # The event has the right time, and the clock takes it for a late one.
    found.scheduled(US, "heal", late=ahead)
    assert model.io == "running"
    found.now -= ahead
    model.io, minutes = "stopped", 0
    while model.io == "stopped":
        assert minutes < 4
        found.wait(60)
        found.scheduled(US, "heal")
        minutes += 1
    assert found.violations == []
