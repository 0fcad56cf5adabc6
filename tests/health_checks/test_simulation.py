"""Rotation simulated under four models of Route 53; and proof that the simulation would notice if it did harm."""

import json
from datetime import datetime
from random import Random
from typing import Any

import msgspec
import pytest

from chalicelib.config.declared import HealthChecks
from chalicelib.engine import run as engine
from chalicelib.health_checks import check_config, decide, observe
from chalicelib.health_checks.decide import guards, sampling
from commands import cli
from commands.develop import simulate_health_checks
from simulation.health_checks.checkers import MODELS, Checkers, Model
from simulation.health_checks.tally import Tally, Verdict, longest_gap
from simulation.health_checks.world import Plot, World
from testing.coverage import lines_executed
from testing.triggers import MODELS as TRIGGERS

pytestmark = pytest.mark.slow

PRODUCT = [f"chalicelib.health_checks.{name}" for name in (
    "act", "observe", "operations", "decide", "decide.guards", "decide.sampling")]


def lived(model: Model = "adversarial", interval: Any = 10, hosts: int = 20, hours: int = 40, rough: bool = False,
          seed: int = 11, harsh: bool = False) -> Verdict:
    settings = HealthChecks(target_groups=("hosts",), interval=interval)
    return simulate_health_checks.simulated(Plot(seed, model, settings, hosts, hours * 60, rough, harsh))


@pytest.mark.slow
@pytest.mark.parametrize("rough", [False, True], ids=["smooth", "rough"])
@pytest.mark.parametrize("hosts", [3, 5, 20])
@pytest.mark.parametrize("interval", [10, 30])
@pytest.mark.parametrize("model", MODELS)
def test_no_flip_no_outage_missed_nothing_late(model: Model, interval: int, hosts: int, rough: bool) -> None:
    found = lived(model, interval, hosts, 12, rough)
    assert (found.flips, found.missed, found.late, found.strangers) == (0, 0, 0, 0)
    assert found.calls <= 300
    assert found.swaps > 10 and found.moves > 50


@pytest.mark.parametrize("triggers", ["jumping", "late", "missed", "doubled", "all"])
@pytest.mark.parametrize("hosts", [3, 20])
def test_wherever_in_its_minutes_the_rule_fires_no_outage_is_missed_or_made_up(hosts: int, triggers: str) -> None:
    settings = HealthChecks(target_groups=("hosts",))
    plot = Plot(11, "adversarial", settings, hosts, 12 * 60, False, triggers=TRIGGERS[triggers])
    found = simulate_health_checks.simulated(plot)
    assert (found.flips, found.missed, found.strangers) == (0, 0, 0) and found.calls <= 300
    assert found.swaps > 10 and found.moves > 50
    if not TRIGGERS[triggers].missed:
        # Two turns lie up to a minute further apart, which each end of a gap may cost.
        assert found.gap <= longest_gap(settings, hosts) + 2 * 60 + 2.5


def turned(hosts: int) -> tuple[Verdict, World]:
    """A world whose coordination table is restored each hour, and that gets events of other years."""
    settings = HealthChecks(target_groups=("hosts",))
    world = World(Plot(11, "adversarial", settings, hosts, 8 * 60, False, turned=True))
    return world.run(), world


@pytest.mark.parametrize("hosts", [5, 20])
def test_restored_tables_and_events_of_other_years_change_nothing(hosts: int) -> None:
    found, world = turned(hosts)
    assert (found.flips, found.missed, found.late, found.strangers, world.believed) == (0, 0, 0, 0, 0)
    [parent] = [check for check in world.route53.checks.values() if check.config["Type"] == "CALCULATED"]
    assert world.shared.store.items["region-check", "eu-west-1"][0].body["id"] == parent.id


def test_if_events_of_other_years_were_believed_the_simulation_would_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_event_time",
                        lambda operation, context, event: int(datetime.fromisoformat(event["time"]).timestamp()))
    assert turned(5)[1].believed > 0


def test_if_the_published_check_was_not_looked_at_a_restored_table_would_keep_an_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observe, "_published_id", lambda context, memory: memory.parent.id if memory.parent else None)
    assert ("region-check", "eu-west-1") not in turned(5)[1].shared.store.items


@pytest.mark.slow
def test_twenty_hosts_are_all_seen_within_eighteen_minutes() -> None:
    found = lived(hours=30)
    assert 900 < found.gap <= 18 * 60 == longest_gap(HealthChecks(target_groups=("a",)), 20) + 20
    assert found.outages > 3 and 0 < found.detection <= 40
    assert 0 < found.repointed <= 120


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [6, 20])
@pytest.mark.parametrize("interval", [10, 30])
@pytest.mark.parametrize("model", MODELS)
def test_pairs_of_anchors_may_be_lost_as_soon_as_the_last_are_replaced(model: Model, interval: int, hosts: int) -> None:
    found = lived(model, interval, hosts, 16, harsh=True)
    assert (found.flips, found.missed, found.late, found.strangers) == (0, 0, 0, 0)
    assert found.calls <= 300 and found.outages > 5
    # Two minutes, what two turns differ by, and the requests of a turn: `late` has each to the second.
    assert found.repointed <= 120 and found.repointed_many <= 122.5 + 0.2 * 13


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 13])
def test_a_small_region_has_no_gap_that_is_too_long(seed: int) -> None:
    # A rover that waited to become an anchor, though it could not, made it 9% too long in these.
    found = lived(hosts=3, hours=60, seed=seed)
    assert found.late == 0 and found.gap_of_bound < 1


@pytest.mark.parametrize(("outages", "late"), [(0, 1), (1, 0)])
def test_gap_beyond_its_bound_is_late_unless_the_region_failed_meanwhile(outages: int, late: int) -> None:
    """The checker's own rule: a gap half a minute too long is late, and an outage within it allows a minute more."""
    settings = HealthChecks(target_groups=("hosts",))
    checkers = Checkers("adversarial", settings, Random(1), lambda when, call, what: None, lambda *_: True,
                        lambda: None)
    tally = Tally(settings, 20, False, checkers)
    hosts = {f"i-{number}": False for number in range(20)}
    tally.fixed_checks = set(list(hosts)[: settings.fixed_checks])
    tally.ran(hosts, {}, 1000.0)
    for _ in range(outages):
        tally.fails(1100.0)
        tally.recovers(1110.0)
    then = 1000.0 + longest_gap(settings, 20) + 30
    tally.ran(hosts, {9: ("i-9", then - 900)}, then)
    assert tally.late == late


@pytest.mark.slow
def test_if_all_could_be_re_pointed_at_once_an_outage_would_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "cannot_mask_outage", lambda *_: True)
    found = lived(hours=30, seed=0, harsh=True)
    assert found.missed > 0 and found.detection > 40


@pytest.mark.slow
def test_if_idle_checks_were_read_each_minute_anchors_would_be_lost_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lived(interval=30, hosts=6, hours=30, seed=3, harsh=True).flips == 0
    monkeypatch.setattr(sampling, "_lately", lambda *_: False)
    assert lived(interval=30, hosts=6, hours=30, seed=3, harsh=True).flips > 0


@pytest.mark.slow
def test_an_outage_is_seen_within_a_hundred_seconds_by_checks_every_thirty() -> None:
    found = lived(interval=30, hours=60)
    assert found.outages > 3 and 40 < found.detection <= 100


@pytest.mark.slow
def test_the_product_itself_is_simulated() -> None:
    executed = lines_executed(
        lambda: [lived(hosts=hosts, hours=15, rough=True, seed=seed) for hosts in (3, 20) for seed in (5, 6)], PRODUCT)
    assert {name: found.missing for name, found in executed.items() if found.share <= 0.9} == {}


def test_the_same_seed_gives_the_same_world() -> None:
    assert lived(hours=5, rough=True) == lived(hours=5, rough=True)


@pytest.mark.slow
def test_if_anchors_were_moved_like_others_the_verdict_would_flip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "may_retarget", lambda *_: True)
    assert lived("reset unhealthy", hours=8).flips > 0 and lived("adversarial", hours=8).flips > 0
    assert lived("reset healthy", hours=20, hosts=5).missed > 0


@pytest.mark.slow
def test_if_a_host_could_count_twice_its_loss_would_flip_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "distinct", lambda checks: True)
    assert any(lived(interval=30, hosts=4, hours=20, seed=seed).flips > 0 for seed in range(3, 40))


def test_without_the_token_strangers_would_be_taken_for_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_config, "update", lambda host: {"IPAddress": host.address, "SearchString": ""})
    assert lived(hours=10).strangers > 0


@pytest.mark.slow
def test_if_draining_hosts_were_kept_their_checks_would_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = lived(hours=40).drained
    monkeypatch.setattr(guards, "target_in_service", guards.target_unchanged)
    assert lived(hours=40).drained > usual


def test_without_turns_being_fair_hosts_would_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "queue_hosts", lambda memory, settings, hosts,
                        at: dict.fromkeys(sampling.eligible(hosts), 0.0))
    assert lived(hours=10).late > 0


def test_without_a_budget_there_would_be_too_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "checks_to_read", lambda memory,
                        *_: [check.number for check in memory.checks if check.confirmed])
    assert lived(hours=10).calls > 300


@pytest.mark.slow
def test_the_command_prints_the_figures(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "health-checks", "--hours", "8", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)["models"]
    assert [row["model"] for row in rows] == sorted(MODELS)
    assert all(row["flips"] == row["missed"] == row["late"] == 0 for row in rows)


def test_the_command_fails_when_a_figure_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = lived(hours=1)
    monkeypatch.setattr(simulate_health_checks, "run", lambda *_: [msgspec.structs.replace(bad, flips=1)])
    assert cli.main(["simulate", "health-checks"]) == 1
