"""The server's settings for a region's balancer process, with listeners, groups and targets."""

import msgspec


class Target(msgspec.Struct, frozen=True):
    """`traffic` and `check` are its ports. `state` is `in`, `draining` (no new connections) or `unused` (no probes)."""

    host: str
    traffic: int
    check: int
    state: str = "in"


class Group(msgspec.Struct, frozen=True):
    """A target group, with the probes of its targets (`id|port` -> target), and the end of their connections.

    Times are seconds at the sandbox's pace. `source` is the balancer's address that probes and connections come from.
    """

    source: str
    network: bool
    protocol: str
    path: str
    matcher: str
    interval: float
    timeout: float
    rise: int
    fall: int
    cut_unhealthy: bool
    cut_deregistered: bool
    targets: dict[str, Target]


class Listener(msgspec.Struct, frozen=True):
    """One port of a balancer. `group` is empty when its default action forwards to none."""

    host: str
    port: int
    group: str
    network: bool


class Region(msgspec.Struct, frozen=True):
    """All balancers of one region."""

    listeners: dict[str, Listener] = {}
    groups: dict[str, Group] = {}


class Report(msgspec.Struct, frozen=True):
    """The report of the balancer process, with state, reason, text by group and target, and the wanted and real port by
    listener."""

    health: dict[str, dict[str, tuple[str, str, str]]]
    ports: dict[str, tuple[int, int]]
