"""journal.alerts: what people were told and is not over, of every operation that keeps alerts."""

from typing import Any

from chalicelib.engine import delivery
from chalicelib.engine import run as engine
from chalicelib.engine.alert_text import Origin
from chalicelib.engine.alerts import Alert
from chalicelib.journal.operations import ALL
from tests.journal.harness import NOW, Journal

STANDING = ALL[1]
ORIGIN = Origin("tunnels.heal", "eu-west-1", "test", "1")


def asked(of: Journal) -> dict[str, Any]:
    """The report."""
    outcome = engine.run(STANDING, of.context, {})
    assert outcome["status"] == "planned", outcome
    report: dict[str, Any] = outcome["plan"]["report"]
    return report


def delivered(of: Journal, operation: str, *alerts: Alert, at: float = NOW - 60) -> None:
    delivery.deliver(of.context.local_store, of.context.alerts, operation, alerts, at, origin=ORIGIN)


def test_alerts_that_hold_come_with_their_steps_the_oldest_first() -> None:
    here = Journal([])
    delivered(here, "tunnels.heal", Alert("TunnelDown", "slot a", "no tunnel answers", since=NOW - 300,
                                          steps=("Look at the host.",)))
    delivered(here, "databases.heal", Alert("ReplicaStopped", "us-east-1", "it stands still", since=NOW - 900))
    report = asked(here)
    assert [(one["operation"], one["alert"], one["targets"]) for one in report["alerts"]] == [
        ("databases.heal", "ReplicaStopped", ["us-east-1"]), ("tunnels.heal", "TunnelDown", ["slot a"])]
    last = report["alerts"][-1]
    assert (last["since"], last["told"], last["steps"]) == (
        "2026-03-29T00:55:00Z", "2026-03-29T00:59:00Z", ["Look at the host."])


def test_what_is_over_and_what_only_happened_is_left_out() -> None:
    here = Journal([])
    delivered(here, "tunnels.heal", Alert("TunnelDown", "slot a", "no tunnel answers"), at=NOW - 1200)
    delivered(here, "tunnels.heal", at=NOW - 60)
    delivered(here, "schedules", Alert("Failed", "jobs/one", "exit status 3", event=True))
    assert asked(here)["alerts"] == []


def test_an_alert_that_nobody_could_be_told_of_says_so() -> None:
    here = Journal([])

    class Refusing:
        def publish(self, subject: str, text: str) -> None:
            raise OSError("the topic is gone")

    delivery.deliver(here.context.local_store, Refusing(), "tunnels.heal", [Alert("TunnelDown", "slot a", "none")],
                     NOW - 60, origin=ORIGIN)
    [one] = asked(here)["alerts"]
    assert one["told"] is None


def test_an_unreadable_item_is_named_and_costs_only_itself() -> None:
    here = Journal([])
    delivered(here, "tunnels.heal", Alert("TunnelDown", "slot a", "no tunnel answers"))
    here.context.local_store.create("alerts", "databases.heal", {})
    report = asked(here)
    assert [one["alert"] for one in report["alerts"]] == ["TunnelDown"]
    assert "databases.heal" in report["unreadable"][0]
