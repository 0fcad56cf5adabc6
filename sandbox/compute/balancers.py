"""Makes what listens follow the records of Elastic Load Balancing, and knows the health that was found."""

import asyncio
import os
import sys
from typing import Any

import msgspec

from sandbox.compute import elb_records as records
from sandbox.compute.elb_records import Record
from sandbox.compute.health import DRAINING, INITIAL, UNUSED
from sandbox.compute.instances import Instances
from sandbox.compute.machine import ROOT
from sandbox.compute.session import Run
from sandbox.compute.settings import Group, Listener, Region, Report, Target

_LINE_BYTES = 2**24
_RETRY_SECONDS = 1.0
# Of what a busy machine needs for an answer, whatever the pace.
_LEAST_TIMEOUT = 2.0


class Process:
    """A region's balancer process. Started again when it ends while it is wanted."""

    def __init__(self, run: Run, region: str) -> None:
        self._run = run
        self._region = region
        self._process: asyncio.subprocess.Process | None = None
        self._told: Region | None = None
        self._starting = False
        self.report = Report({}, {})

    def tell(self, wanted: Region) -> None:
        """Let it become what `wanted` says. Starts it if it does not run."""
        if not self._starting:
            self._starting = True
            self._run.spawn(self._serve)
        elif self._process and self._process.stdin and wanted != self._told:
            self._process.stdin.write(msgspec.json.encode(wanted) + b"\n")
            self._told = wanted

    async def _serve(self) -> None:
        environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT),
                       "LAMPLIGHTER_WORLD": f"{self._run.mark}/{self._region}/balancer/"}
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "sandbox.compute.balancer", env=environment, start_new_session=True,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_BYTES)
            self._run.wake()
            while self._process.stdout and (line := await self._process.stdout.readline()):
                self.report = msgspec.json.decode(line, type=Report)
                self._run.wake()
        finally:
            self._process, self._told, self.report = None, None, Report({}, {})
            if not self._run.down(self._region):
                await asyncio.sleep(_RETRY_SECONDS)  # it failed by itself: no hurry to fail again
            self._starting = False


class Balancers:
    """Every balancer of the sandbox, by region."""

    def __init__(self, run: Run, instances: Instances) -> None:
        self._run = run
        self._instances = instances
        self._processes: dict[str, Process] = {}

    def look(self) -> None:
        """End what has drained, and tell every region's process what the records want."""
        for group in records.groups():
            self._prune(group, records.targets(group["TargetGroupArn"]))
        for region in {region for region, _ in records.balancers()} | self._processes.keys():
            if not self._run.down(region):
                process = self._processes.setdefault(region, Process(self._run, region))
                process.tell(self._wanted(region))

    def deregister(self, group: str, target: Record) -> None:
        """Begin to take a registered target out of its group. It drains first, if it has connections."""
        delay = float(records.attribute(group, "deregistration_delay.timeout_seconds")) / self._run.pace
        if delay and group in records.users(records.region_of(group)):
            target.setdefault("_until", self._run.now() + delay)
        else:
            records.targets(group).remove(target)
        self._run.wake()

    def addresses(self) -> dict[str, Any]:
        """DNS name of each balancer -> its loopback address and, by listener port, the port that listens there."""
        found: dict[str, Any] = {
            one["DNSName"]: {"host": self._address(one), "region": region, "ports": {}}
            for region, one in records.balancers()}
        for region, process in self._processes.items():
            for listener, balancer in records.listeners(region):
                asked, real = process.report.ports.get(listener["ListenerArn"], (0, 0))
                if asked == listener["Port"]:
                    found[balancer["DNSName"]]["ports"][str(asked)] = real
        return found

    def health(self, group: Record, target: Record) -> tuple[str, str, str]:
        """State, reason and description of a registered target, as DescribeTargetHealth has them."""
        arn = group["TargetGroupArn"]
        region = records.region_of(arn)
        if "_until" in target:
            return DRAINING, "Target.DeregistrationInProgress", "Target deregistration is in progress"
        if arn not in records.users(region):
            return UNUSED, "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
        if not self._host(group, target):
            return UNUSED, "Target.InvalidState", "Target is in the stopped state"
        report = self._processes[region].report if region in self._processes else Report({}, {})
        return report.health.get(arn, {}).get(records.key(group, target), (
            INITIAL, "Elb.RegistrationInProgress", "Target registration is in progress"))

    def _prune(self, group: Record, targets: list[Record]) -> None:
        for target in list(targets):
            over = target.get("_until", self._run.now() + 1) <= self._run.now()
            # An instance that is terminated is deregistered by AWS itself.
            gone = group["TargetType"] == "instance" and self._instances.state(target["Id"]) == "terminated"
            if over or gone:
                targets.remove(target)

    def _wanted(self, region: str) -> Region:
        listening = {}
        for listener, balancer in records.listeners(region):
            if listener.get("Protocol") not in ("UDP", "TCP_UDP"):
                listening[listener["ListenerArn"]] = Listener(
                    self._address(balancer), listener["Port"], records.forward(listener), _network(balancer))
        users = records.users(region)
        groups = {group["TargetGroupArn"]: self._group(group, users[group["TargetGroupArn"]])
                  for group in records.groups() if group["TargetGroupArn"] in users}
        return Region(listening, groups)

    def _group(self, group: Record, balancer: Record) -> Group:
        pace, arn, network = self._run.pace, group["TargetGroupArn"], _network(balancer)
        timeout = group["HealthCheckTimeoutSeconds"]
        unhealthy = records.attribute(arn, "target_health_state.unhealthy.connection_termination.enabled")
        deregistered = records.attribute(arn, "deregistration_delay.connection_termination.enabled")
        return Group(
            self._address(balancer), network, group["HealthCheckProtocol"], group["HealthCheckPath"],
            group["Matcher"]["HttpCode"], group["HealthCheckIntervalSeconds"] / pace,
            max(timeout / pace, min(timeout, _LEAST_TIMEOUT)), group["HealthyThresholdCount"],
            group["UnhealthyThresholdCount"], network and unhealthy == "true",
            not network or deregistered == "true",
            {records.key(group, one): self._target(group, one) for one in records.targets(arn)})

    def _target(self, group: Record, target: Record) -> Target:
        host, traffic = self._host(group, target), int(target.get("Port") or group["Port"])
        check = group["HealthCheckPort"]
        state = "draining" if "_until" in target else "in" if host else "unused"
        return Target(host, traffic, traffic if check == "traffic-port" else int(check), state)

    def _host(self, group: Record, target: Record) -> str:
        """The address of the target. Empty for an instance that does not run, and for what is no host at all."""
        if group["TargetType"] == "ip":
            return str(target["Id"])
        return self._instances.address(target["Id"])

    def _address(self, balancer: Record) -> str:
        if "_address" not in balancer:
            balancer["_address"] = self._run.addresses.take()
        return str(balancer["_address"])


def _network(balancer: Record) -> bool:
    return bool(balancer["Type"] == "network")
