"""Random situations, the worst that Route 53 might make of each decision, and proof that each guard is needed.

`harms` is an oracle of its own: it knows nothing of how decisions are made, only what a status is worth.
"""

from random import Random
from typing import Any

import pytest

from chalicelib.config.declared import HealthChecks
from chalicelib.engine.schema import Stored
from chalicelib.health_checks import decide, state
from chalicelib.health_checks.decide import guards, sampling
from chalicelib.health_checks.state import CalculatedCheck, Check, Host, RotationObservation, RotationState

AT = 100_000.0
MINUTE = int(AT) // 60
SITUATIONS = 4000


def situation(seed: int) -> RotationObservation:
    """A region in any state: some hosts gone or draining, some checks new, some changes not confirmed."""
    chance = Random(seed)
    settings = HealthChecks(target_groups=("a",), interval=chance.choice((10, 30)))
    states = ["healthy"] * 6 + ["unhealthy", "initial", "draining"]
    hosts = {f"i-{n}": Host(f"i-{n}", f"192.0.2.{n}", chance.choice(states))  # type: ignore[arg-type]
             for n in range(chance.choice((2, 3, 4, 6, 10)))}
    checks = tuple(_check(number, chance, settings) for number in range(1, 7))
    numbers = chance.sample(range(1, 7), chance.randint(1, 4))
    before = chance.choice((tuple(numbers), tuple(chance.sample(range(1, 7), chance.randint(1, 4)))))
    parent = CalculatedCheck(
        tuple(numbers),
        chance.choice((1, 2, 2, 2)),
        "p",
        3,
        AT - chance.choice((5, 59, 60, 500, 500, 500)),
        before,
        chance.choice((1, 2, 2)),
        confirmed=chance.random() > 0.05,
    )
    requests = (chance.choice((0, 0, 0, 0, 0, 290, 299, 300)), 0, 0, 0, 0)
    # What was read in this turn is already in the checks.
    memory = RotationState(MINUTE - 1, checks, parent, requests=requests)
    return RotationObservation("eu-west-1", settings, Stored(memory), hosts, AT)


def _check(number: int, chance: Random, settings: HealthChecks) -> Check:
    host = chance.randrange(11)
    minutes = chance.choice((0, 1, 2, 3, 3, 3, 9))
    since = AT - chance.choice((5, state.settling_seconds(settings) - 1, state.settling_seconds(settings), 900,
                                900, 900))
    healthy, read = chance.choice(((True, AT), (True, AT), (True, AT), (True, AT - 60), (True, AT - 900), (False, AT),
                                   (False, AT - 120), (None, 0.0)))
    return Check(number, f"c{number}", 1, f"i-{host}", f"192.0.2.{host}", since, MINUTE - minutes,
                 chance.random() > 0.05, healthy, read)


def harms(seen: RotationObservation, done: decide.Decision) -> set[str]:
    """What the decision might do to the region's status, or breaks of what was promised."""
    found = set(_risks(seen, done))
    parent = done.parent
    if parent:
        found |= set(_entries(seen, parent))
        before = seen.state.parent
        if before and parent.threshold > before.threshold and len(parent.children) - parent.threshold < 2:
            found.add("spares fewer")
    for move in done.moves:
        if move.host.state == "draining":
            found.add("points at a draining host")
        if (_there(move.check, seen) and seen.hosts[move.check.host].state != "draining"
                and not _read(move.check, seen) and not _covered(move.check, seen, done)):
            found.add("leaves without a verdict")
    if len(done.moves) + len(done.created) + bool(parent) > max(0, 300 - sum(seen.state.requests)):
        found.add("spends too much")
    return found


def _risks(seen: RotationObservation, done: decide.Decision) -> Any:
    before, moved = seen.state.parent, {move.check.number for move in done.moves}
    assert before
    lists = [(before.children, before.threshold)]
    if not before.confirmed or AT - before.changed < 60:
        lists.append((before.previous_children, before.before_threshold))
    later = lists + ([(done.parent.children, done.parent.threshold)] if done.parent else [])
    sure = {check.number for check in seen.state.checks if _counts(check, seen)}
    unsure = moved | {check.number for check in seen.state.checks if not _settled(check, seen)}
    was_healthy = all(len(sure & set(children)) >= threshold for children, threshold in lists)
    for children, threshold in later:
        inside = set(children)
        if moved & inside and len((sure - moved) & inside) < threshold:
            yield "may fall by a move"
        if moved & inside and len(unsure & inside) >= threshold:
            yield "may hide an outage"
        if was_healthy and len((sure - moved) & inside) < threshold:
            yield "may fall"
    if done.parent and moved & set(done.parent.children):
        yield "moves an anchor"
    if done.parent and not was_healthy and (done.parent.threshold != before.threshold
                                            or (sure & set(before.children)) - set(done.parent.children)):
        yield "changes an unhealthy verdict"


def _entries(seen: RotationObservation, parent: CalculatedCheck) -> Any:
    before, checks = seen.state.parent, {check.number: check for check in seen.state.checks}
    assert before
    if not before.confirmed or AT - before.changed < 60:
        yield "a third list at once"
    for number in set(parent.children) - set(before.children):
        check = checks[number]
        if not _settled(check, seen):
            yield "lets an unsettled one in"
        if check.healthy is not True or check.read != AT:
            yield "lets one in unread"
        if not _there(check, seen) or seen.hosts[check.host].state in ("draining", "unhealthy"):
            yield "lets one in that leaves"
        if any(checks[other].host == check.host for other in parent.children if other != number):
            yield "counts a host twice"
    for number in set(before.children) - set(parent.children):
        check = checks[number]
        stays = _there(check, seen) and seen.hosts[check.host].state != "draining"
        if stays and (check.healthy, check.read) != (False, AT):
            yield "drops one that may be back"


def _settled(check: Check, seen: RotationObservation) -> bool:
    return check.confirmed and AT - check.since >= 60 + (seen.settings.failures + 1) * seen.settings.interval


def _there(check: Check, seen: RotationObservation) -> bool:
    return check.host in seen.hosts and seen.hosts[check.host].address == check.address


def _read(check: Check, seen: RotationObservation) -> bool:
    return check.confirmed and AT - check.since >= 50 + (seen.settings.failures + 1) * seen.settings.interval


def _covered(check: Check, seen: RotationObservation, done: decide.Decision) -> bool:
    """Whether another check stays with the host, or leaves it with a verdict."""
    moved = {move.check.number for move in done.moves}
    return any(
        other.number != check.number
        and other.host == check.host
        and other.address == check.address
        and other.confirmed
        and (other.number not in moved or _read(other, seen))
        for other in seen.state.checks
    )


def _counts(check: Check, seen: RotationObservation) -> bool:
    return _settled(check, seen) and check.healthy is True and AT - check.read <= 300 and _there(check, seen)


def all_harms() -> set[str]:
    found: set[str] = set()
    for seed in range(SITUATIONS):
        seen = situation(seed)
        found |= harms(seen, decide.decide(seen, MINUTE))
    return found


@pytest.mark.slow
def test_no_decision_can_do_harm() -> None:
    assert all_harms() == set()


@pytest.mark.slow
def test_the_situations_are_worth_deciding() -> None:
    done = [decide.decide(situation(seed), MINUTE) for seed in range(SITUATIONS)]
    assert sum(one.parent is not None for one in done) > SITUATIONS / 20
    assert sum(len(one.moves) for one in done) > SITUATIONS / 2


MUTATIONS: list[tuple[str, Any, str, Any, str]] = [
    ("unsettled checks count", guards, "settled", lambda check, settings, at: check.confirmed,
     "lets an unsettled one in"),
    ("no fresh reading", guards, "fresh", lambda check, at: True, "lets one in unread"),
    ("draining ones stay", guards, "target_in_service", guards.target_unchanged, "lets one in that leaves"),
    ("a host may count twice", guards, "distinct", lambda checks: True, "counts a host twice"),
    ("the parent changes at any time", guards, "change_propagated", lambda parent, at: True, "a third list at once"),
    ("old children are forgotten", guards, "possible_memberships", lambda parent, at: iter(()), "may fall by a move"),
    ("the others need not hold the verdict", guards, "meets_threshold", lambda *_: True, "may fall by a move"),
    ("any number of unsettled ones", guards, "cannot_mask_outage", lambda unsettled, threshold: True,
     "may hide an outage"),
    ("anything may move", guards, "may_retarget", lambda *_: True, "may fall by a move"),
    ("a change need not be neutral", guards, "preserves_status", lambda *_: True, "changes an unhealthy verdict"),
    ("old readings count", guards, "_STALE_SECONDS", 10_000, "may fall"),
    ("moves on before the verdict", sampling, "is_reportable", lambda check, settings, at: True,
     "leaves without a verdict"),
    ("a double need not be sure", guards, "duplicates_target", lambda *_: True, "leaves without a verdict"),
    ("no budget", state, "requests_last_hour", lambda memory, minute: 0, "spends too much"),
    ("the threshold rises at once", guards, "keeps_loss_tolerance", lambda *_: True, "spares fewer"),
    ("any candidate", guards, "may_join", lambda *_: True, "lets one in unread"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("room", "name", "instead", "harm"), [row[1:] for row in MUTATIONS],
                         ids=[row[0] for row in MUTATIONS])
def test_without_a_guard_harm_is_done(
    room: Any, name: str, instead: Any, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, name, instead)
    assert any(harm in harms(seen, decide.decide(seen, MINUTE)) for seen in map(situation, range(SITUATIONS)))
