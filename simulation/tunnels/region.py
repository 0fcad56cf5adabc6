"""The world around a region's controller: hosts with tunnels, the primary, other regions. Times are true seconds.

AWS itself is `testing.aws.FakeAws`. This module lets happen what its calls bring about, each after some time. Nothing
here comes from the product except the names of its documents, parameters and items, and how a region reports.
"""

from functools import partial

from chalicelib.aws.ssm import Invocation
from chalicelib.aws.store import Item
from chalicelib.config.tunnel_hosts import primary_region_parameter
from chalicelib.engine import state
from chalicelib.tunnels.state import PEER_REPORT, PEER_REPORT_PK, PeerReport
from simulation.scheduler import Scheduler
from testing.aws import FakeAws, FakeInstance
from testing.fakes import MemoryTable, Store

NEVER = float("inf")
HERE, PRIMARIES, PEER = "eu-west-1", ("us-east-1", "ap-southeast-1"), "sa-east-1"
GROUP = "f-sim-tunnels"
PRIMARY_PARAMETER = primary_region_parameter("f-sim")
PRIMARY_KEY = ("primary", "current")

# A probe's answer: the side of the fault, and one word for what was seen.
Answer = tuple[str, str]
_ANSWERS: dict[str, Answer] = {
    "dead": ("local", "refused"), "hung": ("ambiguous", "hung"), "blocked": ("far", "blocked"),
    "far": ("far", "closed"), "local": ("local", "refused"), "ambiguous": ("ambiguous", "hung")}


class Host:
    """A machine whose tunnel goes to `region`, since it was connected there at `connected_at`.

    `ready_at` is when its service next is up. A `fault` lasts until `fault_until`, or until a restart if it is not
    `deep`. It began at `broke_at`. `served_until` is when it last ceased to serve, `drained_at` when the balancer last
    let go of it, `boots_at` when it first says where it goes. `keys` are those that its document has run, and
    `checks` how often the balancer has begun to check it.
    """

    def __init__(self, machine: FakeInstance, ready_at: float, region: str) -> None:
        self.machine, self.id, self.region = machine, machine.id, region
        self.ready_at = self.boots_at = ready_at
        self.connected_at = self.served_until = self.drained_at = -NEVER
        self.fault, self.fault_until, self.deep, self.broke_at = "", 0.0, False, 0.0
        self.keys: set[str] = set()
        self.checks = 0

    @property
    def running(self) -> bool:
        return self.machine.state == "running"


class SimulatedPrimary:
    """The database's primary: whether it is up, and how that looks from here when it is not.

    It is in `region` since `moved_at`. For a moment before that it is `fenced`. `former_up`: the one before it still
    answers. `term` counts promotions. `down_for` is how long it was down the last time.
    """

    def __init__(self) -> None:
        self.up, self.looks_like, self.down_since, self.up_since, self.down_for = True, "far", NEVER, -NEVER, 0.0
        self.region, self.fenced, self.moved_at, self.former_up, self.term = PRIMARIES[0], False, -NEVER, False, 0


class SimulatedRegion:
    """All hosts of a region, and what becomes of them. `aws` must call `changed` after each of its changes."""

    def __init__(self, scheduler: Scheduler, aws: FakeAws, shared: Store, hosts: int) -> None:
        self.scheduler, self.aws, self.shared, self.wanted = scheduler, aws, shared, hosts
        self.chance = scheduler.chance
        self.primary = SimulatedPrimary()
        self.hosts: dict[str, Host] = {}
        self.no_capacity_until = 0.0
        self.began = scheduler.now
        aws.registered_as = "initial"
        self._launched = 0
        aws.groups[GROUP], aws.target_groups[GROUP] = [], {}
        for _ in range(hosts):
            self._launch(scheduler.now)

    @property
    def now(self) -> float:
        return self.scheduler.now

    # What can be seen.

    def probe(self, host: Host) -> Answer:
        """The current result of a probe through the host's tunnel."""
        if not host.running or self.now < host.ready_at:
            return "local", "refused"
        if self.faulty(host):
            return _ANSWERS[host.fault]
        if host.region != self.primary.region:
            return ("up", "answered") if self.primary.former_up else ("far", "closed")
        return ("up", "answered") if self.primary.up else _ANSWERS[self.primary.looks_like]

    def stated_region(self, host: Host) -> str:
        """The reported region of the host. Now and then nothing, for its health port is another process."""
        says = host.running and self.now >= host.boots_at and self.chance.random() < 0.98
        return host.region if says else ""

    def faulty(self, host: Host) -> bool:
        """Whether something is wrong with the host now."""
        return bool(host.fault) and self.now < host.fault_until

    def serves(self, host: Host) -> bool:
        """Whether the primary answers through it."""
        primary = self.primary
        return (primary.up and host.machine.state == "running" and self.now >= host.ready_at and not self.faulty(host)
                and host.region == primary.region and not primary.fenced)

    def registered(self, host: Host) -> bool:
        """Whether the balancer has it."""
        return host.id in self.aws.target_groups[GROUP]

    def in_service(self, host: Host) -> bool:
        """Whether the balancer sends connections to it."""
        return self.aws.target_groups[GROUP].get(host.id) == "healthy"

    # What happens to hosts and to the primary.

    def break_host(self, host: Host, fault: str, lasts: float, deep: bool) -> None:
        """Something goes wrong with it, for so long, or until a restart if it is not deep."""
        self._ceases(host)
        host.fault, host.fault_until, host.deep, host.broke_at = fault, self.now + lasts, deep, self.now

    def lose_host(self, host: Host) -> None:
        """The machine is gone. Auto Scaling notices after some time."""
        self._ceases(host)
        host.machine.state = "shutting-down"
        self.scheduler.at(self.now + self.chance.uniform(5, 40), partial(self._gone, host))

    def primary_fails(self, looks_like: str) -> None:
        """The primary goes down."""
        for host in self.hosts.values():
            self._ceases(host)
        self.primary.up, self.primary.looks_like, self.primary.down_since = False, looks_like, self.now

    def primary_returns(self) -> None:
        """The primary is there again. Tunnels that broke with it come back within some seconds."""
        primary = self.primary
        if primary.up:
            return  # another region has it since
        primary.up, primary.up_since, primary.down_for = True, self.now, self.now - primary.down_since
        for host in self.hosts.values():
            if primary.looks_like != "far":
                host.ready_at = max(host.ready_at, self.now + self.chance.uniform(0, 6))

    def fence_primary(self) -> None:
        """A promotion begins: nobody is to reach the primary."""
        for host in self.hosts.values():
            self._ceases(host)
        self.primary.fenced = True
        self._publish_primary([self.primary.region])

    def move_primary(self, region: str, former_up: bool) -> None:
        """A promotion ends: the primary is in another region, and the former one answers, or does not."""
        primary, former = self.primary, self.primary.region
        primary.up, primary.region, primary.fenced = True, region, False
        primary.moved_at, primary.former_up = self.now, former_up
        self._publish_primary([former])

    def _publish_primary(self, fenced: list[str]) -> None:
        self.primary.term += 1
        body = {"region": self.primary.region, "term": self.primary.term, "since": int(self.now), "fenced": fenced,
                "schema": 1, "run_id": ""}
        self.shared.put(Item(*PRIMARY_KEY, self.primary.term, body), "", None)

    def add_host(self) -> None:
        """One more than is wanted, as when Auto Scaling balances zones: it launches before it terminates."""
        self._launch(self.now + self.chance.uniform(10, 50))

    def _ceases(self, host: Host) -> None:
        if self.serves(host):
            host.served_until = self.now

    # What AWS brings about when it is asked.

    def changed(self, change: str, subject: str) -> None:
        """A call to AWS has taken effect."""
        if change == "command":
            self._sent(subject)
        elif change == "terminating":
            host = self.hosts[subject]
            host.machine.state = "running"  # it served until now
            self.lose_host(host)
        elif change == "registered":
            self._checks_begin(self.hosts[subject])
        elif change == "deregistered":
            self.hosts[subject].drained_at = self.now
        elif change == "stopping":
            self._stops(self.hosts[subject])
        elif change == "started":
            self.hosts[subject].ready_at = self.now + self.chance.uniform(10, 50)

    def _checks_begin(self, host: Host) -> None:
        """The balancer's first checks of a target. It sends nothing before they have ended, which takes minutes."""
        if self.now == self.began:
            self.aws.target_groups[GROUP][host.id] = "healthy"
            return
        targets = self.aws.target_groups[GROUP]
        host.checks += 1
        number, ends = host.checks, max(self.now, host.ready_at) + self.chance.uniform(10, 200)

        def end() -> None:
            if targets.get(host.id) == "initial" and host.checks == number:
                targets[host.id] = "healthy"

        self.scheduler.at(ends, end)

    def _stops(self, host: Host) -> None:
        """It starts on other hardware, which mostly helps."""
        host.machine.state = "running"  # it served until now
        self._ceases(host)
        host.machine.state = "stopping"
        host.ready_at = NEVER
        if self.chance.random() < 0.9:
            host.fault = ""
        self.scheduler.at(self.now + self.chance.uniform(5, 40), partial(self._stopped, host))

    def _stopped(self, host: Host) -> None:
        if host.machine.state == "stopping":
            host.machine.state = "stopped"

    def _sent(self, command: str) -> None:
        """Run Command delivers at once, late, twice, or never. A message that waited 30 s is not delivered any more."""
        chance, luck = self.chance, self.chance.random()
        if luck < 0.06:
            self._ends(command, chance.uniform(2, 30), "Failed")
        elif luck < 0.94:
            late = chance.uniform(10, 30) if luck < 0.14 else chance.uniform(0.3, 3)
            self.scheduler.at(self.now + late, partial(self._run_document, command))
            if luck > 0.86:
                self.scheduler.at(self.now + late + chance.uniform(0, 25), partial(self._run_document, command))

    def _ends(self, command: str, after: float, status: str) -> None:
        sent = self.aws.commands[command]
        self.scheduler.at(self.now + after, partial(setattr, sent, "invocation", Invocation(status, status)))

    def _run_document(self, command: str) -> None:
        sent = self.aws.commands[command]
        host, key = self.hosts.get(sent.instance), sent.parameters.get("Key") or command
        if host is None or not host.running or key in host.keys:
            return  # a document runs each key once, however often it is delivered
        host.keys.add(key)
        if "Action" in sent.parameters and not self._connects(host):
            self._ends(command, self.chance.uniform(5, 20), "Failed")
            return
        self._ceases(host)
        host.ready_at = max(host.ready_at, self.now + self.chance.uniform(0.5, 6))
        if not host.deep:
            host.fault = ""
        known = self.chance.uniform(30, 90) if self.chance.random() < 0.1 else self.chance.uniform(1, 6)
        self._ends(command, known, "Success")

    @property
    def _primary_region(self) -> str:
        """The region to which a host leads that asks now.

        Until the controller has made the parameter, it is the one that the host was launched for.
        """
        return self.aws.parameters.get(PRIMARY_PARAMETER, PRIMARIES[0])

    def _connects(self, host: Host) -> bool:
        """It takes the way that the parameter says, if that leads to a database."""
        region, primary = self._primary_region, self.primary
        good = (primary.up if region == primary.region else primary.former_up) and self.chance.random() < 0.95
        if good:
            self._ceases(host)
            host.region, host.connected_at = region, self.now
        return good

    def _gone(self, host: Host) -> None:
        if self.hosts.pop(host.id, None) is None:
            return
        del self.aws.instances[host.id]
        self.aws.groups[GROUP].remove(host.id)
        self.aws.target_groups[GROUP].pop(host.id, None)
        if len(self.hosts) < self.wanted:
            wait = self.chance.uniform(200, 500) if self.chance.random() < 0.1 else self.chance.uniform(15, 60)
            self.scheduler.at(max(self.now, self.no_capacity_until) + wait, self._arrives)

    def _arrives(self) -> None:
        if self.now < self.no_capacity_until:
            self.scheduler.at(self.no_capacity_until + self.chance.uniform(15, 60), self._arrives)
            return
        luck = self.chance.random()
        host = self._launch(self.now + (self.chance.uniform(200, 500) if luck < 0.06 else self.chance.uniform(10, 50)))
        if luck > 0.9:
            self.break_host(host, "dead", NEVER, True)

    def _launch(self, ready_at: float) -> Host:
        self._launched += 1
        machine = FakeInstance(f"i-{self._launched:04d}", f"10.0.0.{self._launched % 250}", tags={"role": "tunnel"})
        host = Host(machine, ready_at, self._primary_region)
        self.hosts[host.id] = host
        self.aws.instances[host.id] = machine
        self.aws.groups[GROUP].append(host.id)
        self.aws.target_groups[GROUP][host.id] = "initial"  # the group registers what it launches
        self._checks_begin(host)
        self.scheduler.at(ready_at, partial(self._boots, host))
        return host

    def _boots(self, host: Host) -> None:
        host.region, host.connected_at = self._primary_region, self.now


class PeerRegion:
    """Another region's controller, which reports the primary's state when it changes, and every 30 s.

    One in the first primary's region asks the database there itself, `every` 5 s. `skew` is its clock's error.
    """

    def __init__(self, region: SimulatedRegion, name: str, skew: float, every: float) -> None:
        self.here, self.name, self.skew, self.every = region, name, skew, every
        self.silent_until = self.down_until = 0.0
        self.primary_region = region.primary.region
        self._beat()

    def tell(self) -> None:
        """Writes down what it sees, unless it is silent. Through its own tunnels, which may be down."""
        here, primary = self.here, self.here.primary
        if here.now >= self.silent_until:
            up = primary.up if self.primary_region == primary.region else primary.former_up
            report = PeerReport(up and here.now >= self.down_until, here.now + self.skew, self.primary_region)
            state.publish(MemoryTable(here.shared), (PEER_REPORT_PK, self.name), PEER_REPORT, report,
                          replaces=lambda old: old.at < report.at)

    def changed(self) -> None:
        """The primary has come or gone. It notices within seconds."""
        self.here.scheduler.at(self.here.now + self.here.chance.uniform(0.2, 3), self.tell)

    def follow(self) -> None:
        """Its own tunnels now go to where the primary is."""
        if self.every > 5:
            self.primary_region = self.here.primary.region
            self.tell()

    def _beat(self) -> None:
        self.tell()
        self.here.scheduler.at(self.here.now + self.every, self._beat)
