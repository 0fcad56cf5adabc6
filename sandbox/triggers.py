"""When the sandbox's rules fire: somewhere within their minute, each by itself, as EventBridge's do.

A rule of the emulator is due at the beginning of its minute. From there `testing.triggers` says when, and how often,
its Lambda is started. The event carries the minute, as on AWS.
"""

import heapq
import math
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from itertools import count
from random import Random
from typing import Any

from sandbox.emulator_patches import Context, change
from testing.triggers import RuleTriggers, TriggerModel


class Triggers:
    """The rules and their triggers to come. `seed` makes the offset of each rule. Safe to use from several threads."""

    def __init__(self, seed: str) -> None:
        self._seed, self._model = seed, TriggerModel()
        self._rules: dict[str, RuleTriggers] = {}
        # The last minute of each rule: all of its targets are started at the same times.
        self._last: dict[str, tuple[float, list[float]]] = {}
        self._waiting: list[tuple[float, int, Callable[[], object]]] = []
        self._order, self._lock = count(), threading.Lock()

    def use(self, model: TriggerModel) -> None:
        """Rules fire by `model` from their next minute on."""
        with self._lock:
            self._model = model
            self._rules.clear()

    def of_minute(self, rule: str, began: float) -> list[float]:
        """When (epoch seconds) the rule with this ARN fires for the minute that begins at `began`."""
        with self._lock:
            if rule not in self._rules:
                self._rules[rule] = RuleTriggers(self._model, Random(f"{self._seed}/{rule}"))  # noqa: S311 - no secret
            if self._last.get(rule, (0.0, ()))[0] != began:
                self._last[rule] = (began, self._rules[rule].of_minute(began))
            return self._last[rule][1]

    def put(self, at: float, call: Callable[[], object]) -> None:
        """Call `call` with the first `fire` from `at` on."""
        with self._lock:
            heapq.heappush(self._waiting, (at, next(self._order), call))

    def fire(self, now: float) -> None:
        """Call what is due."""
        while True:
            with self._lock:
                if not self._waiting or self._waiting[0][0] > now:
                    return
                _, _, call = heapq.heappop(self._waiting)
            call()


@change("services.eventbridge", "_invoke_target", "target event rule view",
        "a rule fires somewhere within its minute, its event carries that minute as on AWS, and a stopped region fires "
        "nothing")
def spread(original: Any, context: Context) -> Any:
    from ministack.services import eventbridge, lambda_svc

    def invoke(target: Any, event: Any, rule: Any, view: Any = None) -> None:
        if event.get("DetailType") != "Scheduled Event":
            if eventbridge.get_region() not in context.faults.stopped:
                original(target, event, rule, view)
            return
        minute = math.floor(event["Time"] / 60) * 60

        def start() -> None:
            lambda_svc._invoke_depth.set(1)  # the rule's Lambda is the first of its chain
            if eventbridge.get_region() not in context.faults.stopped and _is_enabled(rule["Arn"]):
                original(target, event | {"Time": minute}, rule, None)

        for at in context.triggers.of_minute(rule["Arn"], minute):
            # With the account and the region of the rule, which the emulator keeps in the context.
            context.triggers.put(at, partial(copy_context().run, start))

    return invoke


def _is_enabled(arn: str) -> bool:
    """Whether the rule is still there. Its stack may have gone since its minute began."""
    from ministack.services import eventbridge

    return any(rule.get("Arn") == arn and rule.get("State") == "ENABLED"
               for rule in list(eventbridge._rules._data.values()))


@change("services.eventbridge", "_tick_scheduled_rules", "", "rules fire also after the beginning of their minute")
def tick(original: Any, context: Context) -> Any:
    def look() -> None:
        try:
            original()
        finally:
            context.triggers.fire(time.time())

    return look
