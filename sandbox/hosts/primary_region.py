"""The primary's region, with a database and the gateway through which the other regions' tunnels reach it."""

import getpass
import json
import shlex
import time
from collections.abc import Callable
from typing import Any, TypeVar

from chalicelib.config import tunnel_hosts as host
from sandbox.hosts import mariadb
from sandbox.hosts.host_files import ROOT, Keyring, command
from sandbox.hosts.programs import Programs
from sandbox.world import Sandbox, WorldError

DATABASE_IMAGE, GATEWAY_IMAGE = "ami-database", "ami-gateway"
DATABASE, GATEWAY, PULL = "database", "gateway", "lamplighter-authorized-keys"
DATABASE_PORT, GATEWAY_PORT = mariadb.PORT, 2222
_WAIT_SECONDS, _LOOK_SECONDS = 180.0, 0.1

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = _WAIT_SECONDS) -> T:
    """The first answer of `look` that counts. `WorldError` names `what` that never came."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise WorldError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(_LOOK_SECONDS)  # between two looks, not instead of one
    return found


def launch(world: Sandbox, region: str, image: str) -> tuple[str, str]:
    """Id and address of a new instance of `image`, which runs."""
    ec2 = world.client("ec2", region)
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]

    def running() -> Any:
        found = ec2.describe_instances(InstanceIds=[made["InstanceId"]])["Reservations"][0]["Instances"][0]
        return found["State"]["Name"] == "running" and found["PrivateIpAddress"]

    return str(made["InstanceId"]), str(eventually(running, f"an instance of {image}"))


class Far:
    """Both instances, running. `user` is whom tunnel hosts log in as. A real database has the one `account`."""

    def __init__(
        self, world: Sandbox, region: str, stack: str, keyring: Keyring, programs: Programs, most: int
    ) -> None:
        self._world, self.region, self._stack = world, region, stack
        self.keyring, self.programs = keyring, programs
        # An sshd of this machine logs in whoever started it.
        self.user = getpass.getuser() if programs.sshd else "tunnel"
        self.account = mariadb.Account(keyring.folder)
        keyring.identify(region, self._role())
        # Images are the world's: each far side has its own.
        database, gateway = f"{DATABASE_IMAGE}-{region}", f"{GATEWAY_IMAGE}-{region}"
        world.image(database, {DATABASE: self._database(most)})
        self.database, self.database_address = launch(world, region, database)
        world.image(gateway, {GATEWAY: self._gateway(), PULL: self._pull()})
        self.gateway, self.gateway_address = launch(world, region, gateway)

    def power_cycle(self, over: Callable[[], object]) -> None:
        """The gateway loses its power until `over` returns, and boots again."""
        ec2, ids = self._world.client("ec2", self.region), [self.gateway]
        self._world.power_off(self.gateway)
        over()
        ec2.stop_instances(InstanceIds=ids)
        ec2.get_waiter("instance_stopped").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 150})
        ec2.start_instances(InstanceIds=ids)

    def _database(self, most: int) -> str:
        if not self.programs.mariadbd:
            return command("sandbox.hosts.database", str(DATABASE_PORT), str(most))
        return mariadb.service(self.programs, self.account, 1, f"--max-connect-errors={most}")

    def _gateway(self) -> str:
        # $PWD is the shell's: the line comes from here, the folder from the instance.
        line = command("sandbox.hosts.gateway", self.user, str(GATEWAY_PORT), str(self.keyring.host_key))
        sshd = f" {shlex.quote(self.programs.sshd)}" if self.programs.sshd else ""
        return f'touch authorized_keys; {line} "$PWD/authorized_keys"{sshd}'

    def _pull(self) -> str:
        """The gateway's own script, every second instead of every 30, as by its timer."""
        values = {"PUBLIC_KEYS": host.public_keys_parameter(self._stack),
                  "PERMIT": f"{self.database_address}:{DATABASE_PORT}"}
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
        script = shlex.quote(str(ROOT / "agent/lamplighter-authorized-keys"))
        path = shlex.quote(str(self.keyring.folder / "bin"))
        return (f'while :; do env PATH={path}:"$PATH" FILE="$PWD/authorized_keys" {words} sh {script}; sleep 1; done')

    def _role(self) -> str:
        """The permissions of a gateway in docs/tunnels-host.md, which are to read the public keys of this stack's
        tunnels."""
        iam, name = self._world.client("iam", self.region), f"{self._stack}-gateway-{self.region}"
        trust = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        place = f"arn:aws:ssm:{self.region}:*:parameter{host.public_keys_parameter(self._stack)}"
        allowed = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "ssm:GetParametersByPath", "Resource": [place, f"{place}/*"]}]}
        iam.put_role_policy(RoleName=name, PolicyName="keys", PolicyDocument=json.dumps(allowed))
        return name
