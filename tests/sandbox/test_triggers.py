"""The sandbox's rules fire somewhere within their minutes, by the models that the simulations use."""

from typing import Any

import pytest

from sandbox import triggers
from testing.triggers import MODELS, TriggerModel
from tests.sandbox.test_changes import context

MINUTE = 1_789_999_980
ARN = "arn:aws:events:us-east-1:000000000000:rule/"


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """The rules of the emulator, by name."""
    from ministack.services import eventbridge

    found: dict[str, dict[str, str]] = {}
    monkeypatch.setattr(eventbridge, "_rules", type("Rules", (), {"_data": found}))
    return found


class Emulator:
    """What the emulator does at the beginning of a minute, and at each look after it."""

    def __init__(self, rules: dict[str, dict[str, str]]) -> None:
        self.rules, self.started = rules, list[tuple[float, str, float]]()
        self.now = 0.0
        self.context = context()
        self.invoke = triggers.spread(
            lambda target, event, rule, view: self.started.append((self.now, rule["Name"], event["Time"])),
            self.context)

    def minutes(self, number: int) -> list[float]:
        """Lets so many minutes pass. The seconds within their minutes at which Lambdas were started."""
        for minute in range(number):
            began = MINUTE + 60 * minute
            for rule in self.rules.values():
                for _ in range(int(rule.get("Targets", "1"))):
                    self.invoke({}, {"DetailType": "Scheduled Event", "Time": began + 0.3}, rule)
            for second in range(60):
                self.look(began + second)
        return [at - time for at, _, time in self.started]

    def look(self, now: float) -> None:
        self.now = now
        self.context.triggers.fire(now)


def rule(name: str, **more: str) -> dict[str, str]:
    return {"Name": name, "Arn": f"{ARN}{name}", "State": "ENABLED", **more}


def test_each_rule_has_a_second_of_its_own_and_keeps_it(rules: dict[str, dict[str, str]]) -> None:
    rules |= {name: rule(name) for name in ("a", "b", "c")}
    emulator = Emulator(rules)
    emulator.minutes(5)
    seconds = {name: {at - time for at, which, time in emulator.started if which == name} for name in rules}
    assert len(emulator.started) == 15
    assert all(len(found) == 1 for found in seconds.values()) and len(set.union(*seconds.values())) > 1
    again = Emulator(rules)
    again.minutes(5)
    assert again.started == emulator.started


def test_an_event_carries_its_minute_and_all_targets_start_together(rules: dict[str, dict[str, str]]) -> None:
    rules["a"] = rule("a", Targets="2")
    emulator = Emulator(rules)
    emulator.minutes(2)
    assert [time for _, _, time in emulator.started] == [MINUTE, MINUTE, MINUTE + 60, MINUTE + 60]
    assert len({at for at, _, _ in emulator.started}) == 2


@pytest.mark.parametrize(("model", "number"), [
    (TriggerModel(0), {20}), (TriggerModel(55), {20}), (MODELS["jumping"], {20}),
    (TriggerModel(10, missed=0.5), set(range(8, 17))), (TriggerModel(10, doubled=0.5), set(range(24, 37)))])
def test_rules_fire_by_the_model_that_was_asked_for(
    rules: dict[str, dict[str, str]], model: TriggerModel, number: set[int]
) -> None:
    rules["a"] = rule("a")
    emulator = Emulator(rules)
    emulator.context.triggers.use(model)
    seconds = emulator.minutes(20)
    assert len(seconds) in number
    if model.offset == "jumping":
        assert len(set(seconds)) > 10
    else:
        assert seconds[0] == model.offset


@pytest.mark.parametrize("change", ["stop", "disable", "delete"])
def test_what_is_stopped_disabled_or_deleted_meanwhile_does_not_fire(
    rules: dict[str, dict[str, str]], change: str
) -> None:
    rules["a"] = rule("a")
    emulator = Emulator(rules)
    emulator.context.triggers.use(TriggerModel(30))
    event: dict[str, Any] = {"DetailType": "Scheduled Event", "Time": MINUTE}
    emulator.invoke({}, event, rules["a"])
    emulator.look(MINUTE + 29)
    if change == "stop":
        emulator.context.faults.stop("us-east-1")  # ministack's own default region, as no request is under way here
    elif change == "disable":
        rules["a"]["State"] = "DISABLED"
    else:
        del rules["a"]
    emulator.look(MINUTE + 31)
    assert emulator.started == []


def test_a_look_at_the_rules_starts_what_is_due_also_when_it_fails() -> None:
    called: list[str] = []
    found = context()
    found.triggers.put(1.0, lambda: called.append("due"))

    def fails() -> None:
        raise OSError("no rules")

    with pytest.raises(OSError, match="no rules"):
        triggers.tick(fails, found)()
    assert called == ["due"]


def test_other_events_are_passed_on_at_once() -> None:
    seen: list[Any] = []
    triggers.spread(lambda *given: seen.append(given), context())({}, {"DetailType": "mine", "Time": 1.7}, {}, "view")
    assert seen == [({}, {"DetailType": "mine", "Time": 1.7}, {}, "view")]
