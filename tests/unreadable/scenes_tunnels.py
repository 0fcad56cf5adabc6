"""Regions with tunnels in which each operation finds each kind of item that it reads."""

from datetime import UTC, datetime
from typing import Any

from testing.aws import denied
from tests.tunnels.harness import A, B, Yard, fails
from tests.tunnels.keys_harness import Ring
from tests.tunnels.test_primary import HOSTS, LONG
from tests.unreadable.stage import Scene, Stage, Tools, remember_alert

HOME, AWAY = "us-east-1", "ap-southeast-1"


def _yard() -> Yard:
    """Two hosts that have worked for a while, and other regions that report."""
    yard = Yard(HOSTS)
    yard.says |= {A: HOME, B: HOME}
    yard.rounds(10)
    if yard.local.get("alerts", "tunnels.heal") is None:
        remember_alert(yard.local, "tunnels.heal")
    yard.publish("primary", "current", region=HOME, term=1, since=1, fenced=[])
    yard.publish("tunnel-reports", AWAY, up=True, at=yard.now)
    yard.publish("tunnel-reports", HOME, up=True, at=yard.now)
    return yard


def _stage(yard: Yard, run: Any) -> Stage:
    done = len(yard.aws.changes)
    return Stage({"shared": yard.shared.store, "local": yard.local.store}, run, lambda: yard.topic.told,
                 lambda: [f"{name} {subject}" for name, subject in yard.aws.changes[done:]])


def _restarting(yard: Yard) -> None:
    """A restart is under way, and nothing is up."""
    fails(yard)
    assert yard.names()[-1] == "ssm send_command"
    yard.sides[B] = ("local", "refused")


def _failing(yard: Yard) -> None:
    """One host is about to be taken out."""
    fails(yard, rounds=2)


def _drained(yard: Yard) -> None:
    """One host was taken out by somebody, and nothing answers now."""
    assert yard.hand("drain", endpoint=A, apply=True)["status"] == "done"
    yard.rounds(5)


def _heal(trouble: Any, after: float = 2) -> Any:
    def make(tools: Tools) -> Stage:
        yard = _yard()
        trouble(yard)
        return _stage(yard, lambda: yard.round(after))
    return make


def _rounds(tools: Tools) -> Stage:
    """The Lambda itself, with its lease, until the next one follows."""
    yard = _yard()
    yard.minute(seconds=6)
    # Long enough for a lease that nobody renews to run out.
    return _stage(yard, lambda: yard.minute(seconds=24))


def _asked(name: str, trouble: Any, **event: Any) -> Any:
    def make(tools: Tools) -> Stage:
        yard = _yard()
        trouble(yard)
        return _stage(yard, lambda: yard.hand(name, **event))
    return make


def _refused(yard: Yard) -> None:
    """AWS refuses what a person asks for, so that people are told."""
    refused = ("elb deregister", "elb register", "autoscaling terminate")
    yard.aws.denials = dict.fromkeys(refused, denied("AccessDenied"))


def _refused_replacement(yard: Yard) -> None:
    """The same of a host that fails."""
    _failing(yard)
    _refused(yard)


def _refused_back(yard: Yard) -> None:
    """The same of a host that was taken out."""
    assert yard.hand("drain", endpoint=A, apply=True)["status"] == "done"
    _refused(yard)


def _all_dark(yard: Yard) -> None:
    """A restart is under way, nothing is up, and the primary's record is to be read again."""
    _restarting(yard)
    yard.now += LONG


def _keys(tools: Tools) -> Stage:
    """A change of the key that has begun."""
    ring = Ring()
    ring.run()
    remember_alert(ring.local, "tunnels.rotate_keys")
    ring.wait(40)
    done = {id: len(aws.changes) for id, aws in enumerate((ring.aws, *ring.gateways))}
    event = {"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(ring.now, UTC).isoformat()}
    return Stage({"local": ring.local.store}, lambda: ring.run(event), lambda: ring.topic.told, lambda: [
        f"{id} {name}" for id, aws in enumerate((ring.aws, *ring.gateways)) for name, _ in aws.changes[done[id]:]])


_STATE = "local tunnels/state"
SCENES = (
    Scene("tunnels.heal", "a host that fails", _heal(_failing), depends={_STATE: ("*",)}),
    Scene("tunnels.heal", "nothing is up", _heal(_all_dark), depends={_STATE: ("*",)}),
    Scene("tunnels.heal", "the Lambda and its lease", _rounds, depends={_STATE: ("*",)}),
    Scene("tunnels.status", "nothing is up", _asked("status", _all_dark), by_hand=True),
    Scene("tunnels.drain", "a host that is restarted", _asked("drain", _all_dark, endpoint=B, apply=True),
          by_hand=True, depends={_STATE: ("*",)}),
    Scene("tunnels.undrain", "a host that was taken out", _asked("undrain", _drained, endpoint=A, apply=True),
          by_hand=True, depends={_STATE: ("*",)}),
    Scene("tunnels.undrain", "while nothing is up", _asked("undrain", _all_dark, endpoint=A, apply=True),
          by_hand=True, depends={_STATE: ("*",)}),
    Scene("tunnels.replace", "a host that is restarted", _asked("replace", _all_dark, endpoint=B, apply=True),
          by_hand=True, depends={_STATE: ("*",)}),
    Scene("tunnels.drain", "that AWS refuses", _asked("drain", _refused, endpoint=B, apply=True), by_hand=True,
          depends={_STATE: ("*",)}),
    Scene("tunnels.undrain", "that AWS refuses", _asked("undrain", _refused_back, endpoint=A, apply=True), by_hand=True,
          depends={_STATE: ("*",)}),
    Scene("tunnels.replace", "that AWS refuses", _asked("replace", _refused_replacement, endpoint=A, apply=True),
          by_hand=True, depends={_STATE: ("*",)}),
    Scene("tunnels.rotate_keys", "on its way", _keys, depends={"local tunnels/keys": ("*",)}),
)
