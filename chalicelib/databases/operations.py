"""databases.watch and databases.heal (each minute, in each region), and the manual operations.

By hand, `{}` always only plans. `databases.promote` is meant to be applied with the digest of its plan.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from chalicelib.context import RegionContext
from chalicelib.databases import act, act_promotion, decide, observe
from chalicelib.databases.connect import Reach, reach
from chalicelib.databases.decide import manual
from chalicelib.databases.observation import (
    PromotionObservation,
    RepairObservation,
    ServerObservation,
    WatchObservation,
)
from chalicelib.databases.state import MEMORY, REPAIR, REPAIRS, WATCH
from chalicelib.engine.limits import decided_at
from chalicelib.engine.operation import Handler, Operation, Request, StateItem
from chalicelib.engine.plan import Action, Plan

Reaching = Callable[[RegionContext, Request, Sequence[Action], Reach], list[str]]


def _watch(saw: WatchObservation, request: Request) -> Plan:
    return decide.watch(saw, decided_at(request.now, saw.around.at))


def _heal(saw: RepairObservation, request: Request) -> Plan:
    return decide.heal(saw, decided_at(request.now, saw.around.at))


def _promote(saw: PromotionObservation, request: Request) -> Plan:
    return manual.promote(saw)


def _fence(saw: ServerObservation, request: Request) -> Plan:
    return manual.fence(saw)


def _tune(saw: ServerObservation, request: Request) -> Plan:
    return manual.tune(saw)


def _status(saw: ServerObservation, request: Request) -> Plan:
    return manual.status(saw, request.now)


class Databases:
    """The operations with this way to the servers, this way to wait, and this way to ask several servers."""

    def __init__(
        self, reach: Reach, wait: Callable[[float], None], ask_all: observe.AskAll = observe.in_parallel
    ) -> None:
        self._reach, self._wait = reach, wait
        use = self._using
        self.watch = self._operation(
            "databases.watch",
            "replication's threads, lag, read-only and readiness. The heartbeat",
            observe.watch,
            _watch,
            {
                "fence": use(act.fence),
                "rejoin": act.rejoin,
                "publish-readiness": act.ready,
                "publish-report": use(act.report),
            },
            StateItem(MEMORY, WATCH),
        )
        self.heal = self._operation(
            "databases.heal", "starts replication that stands still, without ever skipping an event", observe.heal,
            _heal, {"restart": use(act.restart), "change-source": use(act.follow)}, StateItem(REPAIRS, REPAIR))
        self.tune = self._operation(
            "databases.tune", "sets what makes replication recover fast, and lets no port scan stop it", observe.one,
            _tune,
            {"tune": use(act_promotion.tune), "tolerate-connects": use(act_promotion.tolerate_connects)})
        self.fence = self._operation(
            "databases.fence", "makes this region's server read-only, for a promotion elsewhere", observe.one, _fence,
            {"record-fence": act_promotion.record_fence, "set-read-only": use(act_promotion.fence_local)})
        self.promote: Operation[PromotionObservation] = Operation(
            "databases.promote",
            "makes a replica the primary, and sure that there is no other",
            lambda context, request: observe.promote(context, request, reach, ask_all),
            _promote,
            {
                "claim": act_promotion.claim,
                "set-read-only": use(act_promotion.fence_writers),
                "apply-relay-log": self._drain,
                "set-writable": use(act_promotion.open_primary),
                "change-source": use(act_promotion.change_sources),
                "finish": use(act_promotion.finish),
            },
            observe.RegionAsked,
        )
        self.status = self._operation(
            "databases.status", "the primary, and the last report of each replica", observe.one, _status, {})
        self.all: tuple[Operation[Any], ...] = (self.watch, self.heal, self.tune, self.fence, self.promote, self.status)

    def _operation(
        self, name: str, does: str, see: Callable[[RegionContext, Request, Reach], Any],
        decide: Callable[[Any, Request], Plan], acts: dict[str, Handler], state: StateItem | None = None,
    ) -> Operation[Any]:
        # Those without a state are for people, who see what comes of it.
        return Operation(name, does, lambda context, request: see(context, request, self._reach), decide, acts,
                         state=state,
                         raises_alerts=state is not None)

    def _using(self, do: Reaching) -> Handler:
        return lambda context, request, actions: do(context, request, actions, self._reach)

    def _drain(self, context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
        return act_promotion.apply_relay_log(context, request, actions, self._reach, self._wait)


ALL: tuple[Operation[Any], ...] = Databases(reach, time.sleep).all
