"""Those who get notices, and alerts for them to hear of."""


from chalicelib.engine import alert_text
from chalicelib.engine.alert_plan import (
    plan_notifications,
    settle_delivery,
)
from chalicelib.engine.alerts import Alert, AlertState, Notification
from tests.engine.harness import NOW

DOWN = Alert("RegionUnhealthy", "eu-west-1", "No host answers", since=NOW - 30, steps=("Look at the load balancer",))


class People:
    """Who is told, and what they have heard, as changes and headlines. `deaf` loses what is published meanwhile."""

    def __init__(self) -> None:
        self.state, self.now, self.heard = AlertState(), NOW, list[str]()
        self.notices: list[Notification] = []

    def look(self, *wanted: Alert, after: float = 0, deaf: bool = False, not_judged: tuple[str, ...] = ()) -> list[str]:
        """One run; what people heard in it."""
        self.now += after
        planned = plan_notifications(self.state, wanted, self.now, not_judged=not_judged)
        self.state, heard = planned.state, []
        for one in planned.notifications:
            self.state = settle_delivery(self.state, one, self.now, delivered=not deaf)
            heard += [] if deaf else [alert_text.subject(one)]
            self.notices.append(one)
        self.heard += heard
        return heard


def failed(job: str, slot: str = "12:00") -> Alert:
    return Alert("Failed", job, f"{job} exits with 1", cause="exit 1", event=True, occurrence=slot)
