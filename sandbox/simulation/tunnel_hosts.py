"""The simulated world outside a region's controller, with tunnel hosts, the primary's side, AWS, and other regions'
reports.

Nothing here knows of the controller. Times are true seconds.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from chalicelib.tunnels.probe.result import FaultDomain
from chalicelib.tunnels.state import Command, Endpoint, PeerReport

NEVER = float("inf")
At = Callable[[float, Callable[[Any], None], Any], None]


class Host:
    """An instance whose tunnel `leads` to a region, since it was `led` there. `booted` is when it first says so.

    `ready` is when its service next is up. A `fault` lasts `until`, or until a restart if it is not `deep`. `broke` is
    when that began, `lost` when it last ceased to serve, `left` when it was last drained. `done` are the keys that its
    document has seen.
    """

    def __init__(self, id: str, ready: float, leads: str) -> None:
        self.booted = ready
        self.id, self.ready, self.state, self.target, self.leads = id, ready, "running", "registered", leads
        self.led = -NEVER
        self.fault, self.until, self.deep, self.broke, self.lost, self.left = "", 0.0, False, 0.0, -NEVER, -NEVER
        self.done: set[str] = set()

    def faulty(self, now: float) -> bool:
        """Whether something is wrong with it now."""
        return bool(self.fault) and now < self.until


class SimulatedPrimary:
    """The primary's side, whether it is up, and its look from here when it is not.

    `master` is the region that it is in, since `moved`. For a moment before that it is `fenced`. `former` tells whether
    the primary before it still answers. `lead` is the parameter that tells hosts where to lead.
    """

    def __init__(self, master: str) -> None:
        self.up, self.side, self.down_since, self.up_since, self.lasted = True, "far", NEVER, -NEVER, 0.0
        self.master, self.lead, self.fenced, self.moved, self.former = master, master, False, -NEVER, False


_WHY: dict[str, tuple[FaultDomain, str]] = {
    "dead": ("local", "refused"), "hung": ("ambiguous", "silent"), "blocked": ("far", "blocked"),
    "far": ("far", "eof"), "local": ("local", "refused"), "ambiguous": ("ambiguous", "silent")}


class SimulatedRegion:
    """All hosts of a region, and AWS's ways with them. `changed` is called after each change of what AWS shows."""

    def __init__(self, chance: Random, at: At, slots: int, master: str) -> None:
        self.chance, self.at, self.wanted, self.now = chance, at, slots, 0.0
        self.far = SimulatedPrimary(master)
        self.hosts: dict[str, Host] = {}
        self.commands: dict[str, tuple[float, Command]] = {}
        self.drought = 0.0
        self._made = 0
        self._shown: dict[str, Endpoint] | None = None
        for _ in range(slots):
            self._new(self.now)

    # What can be seen.

    def side(self, host: Host) -> tuple[FaultDomain, str]:
        """The current result of a probe through the host's tunnel."""
        if host.state != "running" or self.now < host.ready:
            return "local", "refused"
        if host.faulty(self.now):
            return _WHY[host.fault]
        if host.leads != self.far.master:
            return ("up", "greeting") if self.far.former else ("far", "eof")
        return ("up", "greeting") if self.far.up else _WHY[self.far.side]

    def leads(self, host: Host) -> str:
        """The reported region of the host. Now and then nothing, for its health port is another process."""
        return host.leads if host.state == "running" and self.now >= host.booted and self.chance.random() < 0.98 else ""

    def serves(self, host: Host) -> bool:
        """Whether the database answers through it."""
        return (self.far.up and host.state == "running" and self.now >= host.ready and not host.faulty(self.now)
                and host.leads == self.far.master and not self.far.fenced)

    def shown(self) -> dict[str, Endpoint]:
        """The answers of EC2, Auto Scaling and the target group."""
        if self._shown is None:
            self._shown = {host.id: Endpoint(host.id, "10.0.0.1", host.state, host.target)  # type: ignore[arg-type]
                           for host in self.hosts.values()}
        return self._shown

    def said(self, command: str) -> Command | None:
        """The status of a command in Run Command."""
        when, status = self.commands.get(command, (NEVER, "done"))
        return status if self.now >= when else None

    # What happens to hosts.

    def breaks(self, host: Host, fault: str, lasts: float, deep: bool) -> None:
        """Something goes wrong with it, for so long, or until a restart if it is not deep."""
        self._ceases(host)
        host.fault, host.until, host.deep, host.broke = fault, self.now + lasts, deep, self.now

    def dies(self, host: Host) -> None:
        """The machine is gone. Auto Scaling notices after some time."""
        self._ceases(host)
        host.state, self._shown = "shutting-down", None
        self.at(self.now + self.chance.uniform(5, 40), self._gone, host)

    def falls(self, side: str) -> None:
        """The primary's side goes down."""
        for host in self.hosts.values():
            self._ceases(host)
        self.far.up, self.far.side, self.far.down_since = False, side, self.now

    def returns(self) -> None:
        """The primary's side is there again. Tunnels that broke with it come back within some seconds."""
        far = self.far
        if far.up:
            return  # another region has the master since
        far.up, far.up_since, far.lasted = True, self.now, self.now - far.down_since
        for host in self.hosts.values():
            if far.side != "far":
                host.ready = max(host.ready, self.now + self.chance.uniform(0, 6))

    def fences(self) -> None:
        """A promotion begins, and nobody may reach the primary."""
        for host in self.hosts.values():
            self._ceases(host)
        self.far.fenced = True

    def moves(self, master: str, former: bool) -> None:
        """It ends. The primary is in another region, and the former one answers, or does not."""
        far = self.far
        far.up, far.master, far.fenced, far.moved, far.former = True, master, False, self.now, former

    def _ceases(self, host: Host) -> None:
        if self.serves(host):
            host.lost = self.now

    # What AWS does when asked. Each answers with an error, or with nothing.

    def deregister(self, id: str) -> str:
        """elbv2 DeregisterTargets, with the connections cut."""
        return self._target(id, "absent")

    def register(self, id: str) -> str:
        """elbv2 RegisterTargets. An instance that is gone is refused."""
        return self._target(id, "registered")

    def _target(self, id: str, target: str) -> str:
        host = self.hosts.get(id)
        if host is None or host.state != "running":
            return "" if target == "absent" else "InvalidTarget"
        if host.target == "registered" and target == "absent":
            host.left = self.now
        host.target, self._shown = target, None
        return ""

    def point(self, id: str, key: str, to: str) -> str:
        """ssm PutParameter, then the command."""
        self.far.lead = to
        return self.command(id, key)

    def command(self, id: str, key: str) -> str:
        """Ssm SendCommand runs at once, late, twice, or never. A command that waited 30 s does not run any more."""
        host, chance = self.hosts.get(id), self.chance
        if host is None or host.state != "running":
            return "InvalidInstanceId"
        luck = chance.random()
        if luck < 0.06:
            self.commands[key] = (self.now + chance.uniform(2, 30), "failed")
        elif luck < 0.94:
            late = chance.uniform(10, 30) if luck < 0.14 else chance.uniform(0.3, 3)
            self.at(self.now + late, self._run, (host, key))
            if luck > 0.86:
                self.at(self.now + late + chance.uniform(0, 25), self._run, (host, key))
        return ""

    def _run(self, what: tuple[Host, str]) -> None:
        host, key = what
        # The document runs a key once, however often it is delivered.
        if host.state == "running" and key not in host.done:
            host.done.add(key)
            if key.endswith("/point") and not self._led(host):
                self.commands[key] = (self.now + self.chance.uniform(5, 20), "failed")
                return
            self._ceases(host)
            host.ready = max(host.ready, self.now + self.chance.uniform(0.5, 6))
            if not host.deep:
                host.fault = ""
            known = self.chance.uniform(30, 90) if self.chance.random() < 0.1 else self.chance.uniform(1, 6)
            self.commands[key] = (self.now + known, "done")

    def _led(self, host: Host) -> bool:
        """It takes the way that the parameter says, if that leads to a database."""
        far = self.far
        good = (far.up if far.lead == far.master else far.former) and self.chance.random() < 0.95
        if good:
            self._ceases(host)
            host.leads, host.led = far.lead, self.now
        return good

    def terminate(self, id: str) -> str:
        """autoscaling TerminateInstanceInAutoScalingGroup, the desired capacity kept."""
        host = self.hosts.get(id)
        if host is None or host.state == "shutting-down":
            return "ValidationError"
        self.dies(host)
        return ""

    def joins(self) -> Host:
        """One more than the group wants, as when Auto Scaling balances zones and launches before it terminates."""
        return self._new(self.now + self.chance.uniform(10, 50))

    def _gone(self, host: Host) -> None:
        gone, self._shown = self.hosts.pop(host.id, None), None
        if gone and len(self.hosts) < self.wanted:
            slow = self.chance.random() < 0.1
            wait = self.chance.uniform(200, 500) if slow else self.chance.uniform(15, 60)
            self.at(max(self.now, self.drought) + wait, self._arrives, None)

    def _arrives(self, _: object) -> None:
        if self.now < self.drought:
            self.at(self.drought + self.chance.uniform(15, 60), self._arrives, None)
            return
        luck = self.chance.random()
        host = self._new(self.now + (self.chance.uniform(200, 500) if luck < 0.06 else self.chance.uniform(10, 50)))
        if luck > 0.9:
            self.breaks(host, "dead", NEVER, True)

    def _new(self, ready: float) -> Host:
        self._made += 1
        host = Host(f"i-{self._made:04d}", ready, self.far.lead)
        self.hosts[host.id], self._shown = host, None
        self.at(ready, self._boots, host)
        return host

    def _boots(self, host: Host) -> None:
        host.leads, host.led = self.far.lead, self.now


class PeerRegion:
    """Another region's controller, which reports the primary's state when it changes, and every 30 s.

    With `every` of 5 it is the one in the first primary's region, which asks the database there itself.
    """

    def __init__(self, street: SimulatedRegion, skew: float, every: float = 30) -> None:
        self.every = every
        self.street, self.skew, self.silent, self.blind = street, skew, 0.0, 0.0
        self.said = PeerReport(True, 0.0)
        self.lead = street.far.master
        self._beat(None)

    def tell(self, _: object = None) -> None:
        """Writes down what it sees, unless it is silent. Through its own tunnels, which may be down."""
        now = self.street.now
        if now >= self.silent:
            far = self.street.far
            up = far.up if self.lead == far.master else far.former
            self.said = PeerReport(up and now >= self.blind, now + self.skew, self.lead)

    def changed(self) -> None:
        """The primary's side has come or gone."""
        self.street.at(self.street.now + self.street.chance.uniform(0.2, 3), self.tell, None)

    def follows(self, _: object) -> None:
        """It has been led to where the primary is now."""
        if self.every > 5:
            self.lead = self.street.far.master
            self.tell()

    def _beat(self, _: object) -> None:
        self.tell()
        self.street.at(self.street.now + self.every, self._beat, None)
