"""The embedded AWS for its users, who start it, call it, break it, and leave nothing behind.

    with Sandbox.start() as world:
        world.client("sqs", "eu-west-1").list_queues()
        world.stop_region("eu-west-1")

`Sandbox.start(publish=FILE)` writes into a file how another terminal reaches it, and `Sandbox.find(FILE)` reads that.
"""

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import boto3
import msgspec
from botocore.config import Config

from sandbox import auth_middleware
from sandbox.faults import UNAVAILABLE
from sandbox.server import ACCOUNT, State, WorldError, server
from testing.triggers import TriggerModel

__all__ = ["ACCOUNT", "Address", "Sandbox", "State", "WorldError"]

# Straight to the loopback address, whatever proxy the user's environment names.
_CONFIG = Config(connect_timeout=9, read_timeout=120, retries={"total_max_attempts": 2, "mode": "standard"}, proxies={})
# A limit for a server that hangs; under load an answer may take seconds.
_SECONDS = 60
REGIONS = ("ap-southeast-1", "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-3", "us-east-1")
_DOOR = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Address(msgspec.Struct, frozen=True):
    """The place of a load balancer on this machine. `ports` is listener port -> the port that listens.

    They are equal, except for ports below 1024 where this user may not listen on those.
    """

    host: str
    region: str
    ports: dict[int, int]


class Sandbox:
    """A running embedded AWS."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}

    @classmethod
    @contextmanager
    def start(cls, *, publish: Path | None = None, stage: str = "", regions: Sequence[str] = ()) -> Iterator[Self]:
        """Run an embedded AWS until the block ends. The file `publish` lets other terminals find it.

        Raises `WorldError` when it does not come up, or when `publish` is asked for and another one is published.
        """
        if publish and cls.find(publish) is not None:
            raise WorldError(f"another sandbox is running (see {publish}). End it first")
        with server() as state, cls(state)._published(publish, stage, tuple(regions)) as world:
            world._check()
            yield world

    @classmethod
    def find(cls, published: Path) -> Self | None:
        """The world that another process has published in this file, if it still runs."""
        try:
            world = cls(msgspec.json.decode(published.read_bytes(), type=State))
            os.kill(world.state.pid, 0)
            world.control("stopped")
        except (OSError, msgspec.DecodeError, WorldError):
            return None
        return world

    @property
    def endpoint(self) -> str:
        """The address that takes every service's requests."""
        return self.state.endpoint

    @cached_property
    def session(self) -> boto3.Session:
        """A boto3 session with the operator's keys. Pass `endpoint_url=world.endpoint` to the clients it makes."""
        return boto3.Session(aws_access_key_id=self.state.access_key, aws_secret_access_key=self.state.secret_key)

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which any AWS SDK or the AWS CLI talks to this world."""
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": self.state.access_key,
                "AWS_SECRET_ACCESS_KEY": self.state.secret_key}

    def client(self, service: str, region: str) -> Any:
        """A boto3 client of the operator. One per service and region, safe to share among threads."""
        with self._lock:
            if (service, region) not in self._clients:
                self._clients[service, region] = self.session.client(
                    service, region_name=region, endpoint_url=self.endpoint, config=_CONFIG)
            return self._clients[service, region]

    def regions(self) -> Sequence[str]:
        """Regions in which a deployment looks for stacks that it left behind. The others have none here."""
        return REGIONS

    def stop_region(self, region: str) -> None:
        """Region `region` dies, without answers, rules or polling. Its Lambdas, instances and balancers are killed."""
        self.control("stop", region=region)

    def start_region(self, region: str) -> None:
        """Region `region` comes back with all that it had. Its instances boot again."""
        self.control("start", region=region)

    def refuse(self, action: str, region: str = "*", kind: str = UNAVAILABLE, times: int = -1) -> None:
        """Make calls of IAM action `action` (`sqs:SendMessage`, `sqs:*`) fail, with 503, `throttled`, or `refused` for
        good."""
        self.control("fault", action=action, region=region, kind=kind, times=times)

    def lag(self, seconds: float) -> None:
        """Copies of plain global tables (not strongly consistent ones) arrive `seconds` late."""
        self.control("lag", seconds=seconds)

    def triggers(self, model: TriggerModel) -> None:
        """Rules fire by this model from their next minute on. At first each has an offset of its own in the minute."""
        self.control("triggers", **msgspec.structs.asdict(model))

    def image(self, image_id: str, services: Mapping[str, str]) -> None:
        """The services of instances of `image_id` that boot from now on, as service name -> command line for /bin/sh.

        Each runs with INSTANCE_ID, REGION, ADDRESS (its loopback address) and USER_DATA (the path of the decoded user
        data), and starts again a second after its end. Instances of other images run nothing.
        """
        self.control("image", image=image_id, services=dict(services))

    def pace(self, factor: float) -> None:
        """Make health checks, draining and grace periods `factor` times as fast, in every region."""
        self.control("pace", factor=factor)

    def addresses(self) -> dict[str, Address]:
        """DNS name of each load balancer -> where it listens on this machine."""
        return msgspec.convert(self.control("addresses"), dict[str, Address], strict=False)

    def kill(self, instance: str, service: str) -> None:
        """Kill a service with all its processes. It is started again after a second."""
        self.control("kill", instance=instance, service=service)

    def hang(self, instance: str, service: str) -> None:
        """Stop a service where it is (SIGSTOP), with all its processes. Open connections stay, nothing answers."""
        self.control("hang", instance=instance, service=service)

    def thaw(self, instance: str, service: str) -> None:
        """Let a hung service go on."""
        self.control("thaw", instance=instance, service=service)

    def power_off(self, instance: str) -> None:
        """Kill all processes of an instance. It is still `running`, with failing status checks, until stopped."""
        self.control("power-off", instance=instance, destroy=False)

    def destroy(self, instance: str) -> None:
        """Kill all that runs in an instance, which is terminated for good."""
        self.control("power-off", instance=instance, destroy=True)

    def log(self, instance: str, service: str) -> str:
        """The standard output and error of a service since the launch of the instance."""
        return str(self.control("log", instance=instance, service=service))

    def clear_faults(self) -> None:
        """Forget what `refuse` and `lag` asked for."""
        self.control("clear")

    @cached_property
    def dns_port(self) -> int:
        """The port of 127.0.0.1 where the hosted zones are answered, over UDP and TCP."""
        return int(self.control("dns"))

    def place(self, network: str, continent: str, country: str = "", subdivision: str = "") -> None:
        """Clients of `network` (as in 203.0.113.0/24) are there, in Route 53's codes."""
        self.control("place", network=network, continent=continent, country=country, subdivision=subdivision)

    def outside(self, name: str, zone: str, addresses: Sequence[str], *, healthy: bool = True) -> None:
        """A target of aliases, with a load balancer's name, the id of its hosted zone, and its place."""
        self.control("outside", name=name, zone=zone, addresses=list(addresses), healthy=healthy)

    def healthy(self) -> dict[str, bool]:
        """Route 53's status of every health check, by id, the calculated ones included."""
        found: dict[str, bool] = self.control("healthy")
        return found

    def refuse_route53(self, operation: str = "*", code: str = "ServiceUnavailable", times: int = -1) -> None:
        """Route 53's API refuses. Its answers and health checks go on. Until `mend_route53`."""
        self.control("route53_fault", operation=operation, code=code, times=times)

    def mend_route53(self) -> None:
        """Route 53's API takes calls again."""
        self.control("route53_mend")

    def calls(self) -> list[dict[str, Any]]:
        """The calls of each principal (a Lambda's name, or `operator`), with region, IAM action, count, denied, found.
        """
        found: list[dict[str, Any]] = self.control("calls")
        return found

    def needed(self, principal: str) -> set[tuple[str, str]]:
        """The (Sid, action) of the policies of a Lambda without which one of its calls would have been denied."""
        return {(sid, action) for name, sid, action in self.control("needed") if name == principal}

    def forget_calls(self) -> None:
        """Count from zero again."""
        self.control("forget")

    def control(self, command: str, **arguments: Any) -> Any:
        """One command through the control door. `WorldError` when it is refused or nobody answers."""
        request = urllib.request.Request(  # noqa: S310 - always the loopback address of our own process
            f"{self.endpoint}/_world/{command}", json.dumps(arguments).encode(),
            {auth_middleware.SECRET_HEADER: self.state.control, "Content-Type": "application/json"})
        try:
            with _DOOR.open(request, timeout=_SECONDS) as answer:
                return json.loads(answer.read())["result"]
        except urllib.error.HTTPError as error:
            raise WorldError(f"sandbox: {json.loads(error.read())['message']}") from None
        except OSError as error:
            raise WorldError(f"the sandbox at {self.endpoint} does not answer ({error})") from None

    def _check(self) -> None:
        """The self-test from outside. The operator's key passes, a call without a key does not."""
        arn = self.client("sts", "us-east-1").get_caller_identity()["Arn"]
        if not arn.endswith(":user/operator"):
            raise WorldError(f"the sandbox takes its operator for {arn}")
        try:
            _DOOR.open(self.endpoint, timeout=_SECONDS)
        except urllib.error.HTTPError as error:
            if error.code == 403:
                return
        raise WorldError("the sandbox answers unsigned requests, so it is not safe to run")

    @contextmanager
    def _published(self, publish: Path | None, stage: str, regions: tuple[str, ...]) -> Iterator[Self]:
        if not publish:
            yield self
            return
        self.state = msgspec.structs.replace(self.state, stage=stage, regions=regions)
        publish.parent.mkdir(exist_ok=True)
        publish.unlink(missing_ok=True)
        publish.touch(mode=0o600)
        publish.write_bytes(msgspec.json.encode(self.state))
        try:
            yield self
        finally:
            publish.unlink(missing_ok=True)
