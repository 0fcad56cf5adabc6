"""The context of a decision, with a round's facts, its decisions so far, and the questions of all steps. Pure.

A step takes a `DecisionContext` and gives another one. Nothing is changed in place.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from chalicelib.config.tunnels import Tunnels
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import Endpoint, Kind, Member, RepairAction, TunnelObservation, TunnelState


class DecisionContext(msgspec.Struct, frozen=True):
    """`before` is the state that was read, `state` the one that will be written. `actions` follow it in their order.

    `manual` means that a person asks for it, so the mode of fleet.toml does not matter.
    """

    observation: TunnelObservation
    before: TunnelState
    state: TunnelState
    now: float
    actions: tuple[RepairAction, ...] = ()
    notes: tuple[str, ...] = ()
    manual: bool = False

    @property
    def settings(self) -> Tunnels:
        """[tunnels] of fleet.toml."""
        return self.observation.settings

    @property
    def members(self) -> tuple[Member, ...]:
        """All members as they are after what is decided so far."""
        return self.state.members

    def each(self) -> Iterator[Member]:
        """The members as they are now, whatever the caller's own context becomes meanwhile."""
        return iter(self.state.members)

    def endpoint(self, member: Member) -> Endpoint | None:
        """The member's instance, if it is there."""
        return self.observation.endpoints.get(member.instance)

    def with_member(self, member: Member) -> "DecisionContext":
        """The same with this member in the place of the one of its name."""
        members = tuple(member if one.name == member.name else one for one in self.state.members)
        return replace(self, state=replace(self.state, members=members))

    def with_note(self, member: Member, kind: Kind, because: str) -> "DecisionContext":
        """The same with the reason why an action is held back."""
        note = f"member {member.name}: {kind} of {member.instance} held back: {because}"
        return replace(self, notes=(*self.notes, note))

    def with_action(
        self, member: Member, kind: Kind, reason: str, *, primary_region: str = "", **changes: Any
    ) -> "DecisionContext":
        """The same with the next action of the member's incident. The member is as it will be once that is done."""
        number = changes.pop("action_number", member.action_number) + 1
        after = replace(member, action_number=number, **changes)
        action = RepairAction(kind, member.name, member.instance, after.incident, number, reason, primary_region)
        context = self.with_member(replace(after, last_action=action.key))
        return replace(context, actions=(*self.actions, action))


IN_GROUP = ("registered", "waiting")


def fresh(context: DecisionContext, member: Member) -> bool:
    """Whether it was seen recently enough to act on."""
    return member.streak is not None and context.now - member.streak.at <= context.settings.stale


def up(context: DecisionContext, member: Member) -> bool:
    """Whether the database answers through it."""
    return member.streak is not None and member.streak.up and fresh(context, member)


def any_up(context: DecisionContext) -> bool:
    """Whether the database answers through any."""
    return any(up(context, member) for member in context.members)


def failing(context: DecisionContext, member: Member) -> bool:
    """Whether it has failed often enough in a row."""
    return member.streak is not None and not member.streak.up and member.streak.count >= context.settings.fall


def recovered(context: DecisionContext, member: Member) -> bool:
    """Whether it has answered often enough in a row."""
    return member.streak is not None and member.streak.up and member.streak.count >= context.settings.rise


def registered(context: DecisionContext, member: Member) -> bool:
    """Whether it is in the balancer's target group."""
    endpoint = context.endpoint(member)
    return endpoint is not None and endpoint.target in IN_GROUP


def in_service(context: DecisionContext, member: Member) -> bool:
    """Whether the balancer sends connections to it. That begins some minutes after it was registered."""
    endpoint = context.endpoint(member)
    return endpoint is not None and endpoint.target == "registered"


def can_take_load(context: DecisionContext, member: Member) -> bool:
    """Whether it can carry the others' load. The balancer must send to it, and it must have answered for some
    time."""
    return (member.phase == "healthy" and in_service(context, member) and up(context, member)
            and recovered(context, member))


# Where a tunnel goes. A promotion makes another region's server the primary. Which region counts, the observation's
# `primary_region`, comes from the shared store; each host of [tunnels.hosts] says itself where its ssh was last
# started to. Where there is but one route, or hosts are not ours, nobody is asked, and `primary_region` is empty.


def matches_primary(region: str, seen: TunnelObservation) -> bool:
    """Whether a host that says that goes to the primary. One that has never said anything was launched to where
    fleet.toml has it."""
    return not seen.primary_region or (region or seen.settings.primary) == seen.primary_region


def has_wrong_primary(member: Member, seen: TunnelObservation) -> bool:
    """Whether the member's host may go to another region than the one where the primary is."""
    return bool(member.instance) and not matches_primary(member.connected_region, seen)


def fresh_result(instance: str, seen: TunnelObservation, now: float) -> ProbeResult | None:
    """The observation of a host, if it is recent enough for an action."""
    found = seen.probes.get(instance)
    return found if found and now - found.at <= seen.settings.stale else None


def reports_wrong_primary(instance: str, seen: TunnelObservation, now: float) -> bool:
    """Whether a host says that it goes to another region."""
    found = fresh_result(instance, seen, now)
    return found is not None and bool(found.connected_region) and not matches_primary(found.connected_region, seen)
