"""The tunnels of a customer, with a database and its gateway in the primary's region, and tunnel hosts in the others.

    with product(world, "us-east-1", ["eu-west-1", "ap-southeast-1"]) as tunnels:
        tunnels.endpoint("eu-west-1")           # where the primary's database is reached there
        world.hang(tunnels.hosts("eu-west-1")[0], TUNNEL)

The hosts come from the template of a deployment, their key from `tunnels.rotate_keys`, and they run their user data.
They use the programs of this machine, or our own in their place. A caller that deploys a whole package makes the
`primary_region`, adds `tables` to its fleet.toml, deploys, and then `identify`s and `rotate`s each region.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chalicelib.aws.ports import ports_at
from chalicelib.config import fleet
from chalicelib.config.declared import Fleet
from chalicelib.config.tunnels import managed_name
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.engine.schema import ItemKey, Unreadable, decode
from chalicelib.tunnels.infrastructure import resources as tunnel_resources
from chalicelib.tunnels.keys.operation import ROTATE
from chalicelib.tunnels.state import KEY, SCHEMA, TunnelState
from sandbox.hosts import programs as program
from sandbox.hosts.connections import carrier
from sandbox.hosts.host_files import Keyring, command
from sandbox.hosts.primary_region import DATABASE_PORT, GATEWAY_PORT, Far, eventually
from sandbox.hosts.programs import Programs
from sandbox.server import ACCOUNT
from sandbox.world import Sandbox, WorldError
from testing.fakes import MemoryTable, MemoryTopic

# The services of a tunnel host.
KEYS, TUNNEL, HEALTH = "lamplighter-keys", "lamplighter-tunnel", "lamplighter-tunnel-health"
PORT, HEALTH_PORT = 3306, 3307
NAME, STAGE = "tunnels", "demo"
STACK = f"{NAME}-{STAGE}"
_IMAGE = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}"
_ROTATION_SECONDS, _LOOK_SECONDS = 180.0, 0.5


@contextmanager
def product(
    world: Sandbox, primary: str, regions: Sequence[str], *, most: int = 100, programs: Programs | None = None
) -> Iterator["Tunnels"]:
    """All of it, every tunnel host healthy. `WorldError` when that does not come about.

    `most` is the database's max_connect_errors. `programs` the ones to use instead of those that are found.
    """
    with primary_region(world, primary, STACK, most=most, programs=programs) as far:
        tunnels = Tunnels(world, far, far.keyring, _declared(world, far, far.keyring, regions), STAGE)
        with ThreadPoolExecutor(len(regions)) as pool:
            list(pool.map(tunnels.begin, regions))
        yield tunnels


@contextmanager
def primary_region(
    world: Sandbox, region: str, stack: str, *, most: int = 100, programs: Programs | None = None
) -> Iterator[Far]:
    """A database and its gateway in `region`, for the tunnels of `stack`, whose hosts can run once it is deployed."""
    with tempfile.TemporaryDirectory(prefix="lamp-tunnels-") as folder:
        used = program.found() if programs is None else programs
        keyring = Keyring(Path(folder), world, used)
        far = Far(world, region, stack, keyring, used, most)
        image(world, keyring)
        yield far


def image(world: Sandbox, keyring: Keyring) -> None:
    """Let instances of Amazon Linux 2023, which the template launches, be tunnel hosts."""
    units = {unit: command("sandbox.hosts.boot", unit, str(keyring.folder)) for unit in (KEYS, TUNNEL, HEALTH)}
    for machine in ("arm64", "x86_64"):
        world.image(_IMAGE.format(machine), units)


def _declared(world: Sandbox, far: Far, keyring: Keyring, regions: Sequence[str]) -> Fleet:
    names = "".join(f'[[regions]]\nname = "{name}"\n' for name in (far.region, *regions))
    head = f'name = "{NAME}"\ncoordination = {{ regions = ["{far.region}"] }}\n{names}'
    return fleet.parse(head + tables(world, far, keyring, regions))


def tables(world: Sandbox, far: Far, keyring: Keyring, regions: Sequence[str], stage: str = "", *others: Far) -> str:
    """`[tunnels]` of a fleet.toml with hosts in `regions`, each in a network that is made for it, and ways to `others`.

    With `stage` it holds in that stage alone, over what stands above.
    """
    at = f"stages.{stage}.tunnels" if stage else "tunnels"
    places = "".join(f"[[{at}.hosts.regions]]\n{_place(world, region)}" for region in regions)
    places += "".join(f'[[{at}.hosts.ways]]\nregion = "{other.region}"\n{_way(other, keyring)}' for other in others)
    return f"""
[{at}]
primary = "{far.region}"
mode = "full"
slots = 2
port = {PORT}
health_port = {HEALTH_PORT}
[{at}.hosts]
{_way(far, keyring)}{places}"""


def _way(far: Far, keyring: Keyring) -> str:
    return f"""gateway = "{far.gateway_address}"
gateway_port = {GATEWAY_PORT}
gateway_user = "{far.user}"
host_keys = ["{keyring.public}"]
database = "{far.database_address}"
database_port = {DATABASE_PORT}
"""


def _place(world: Sandbox, region: str) -> str:
    ec2 = world.client("ec2", region)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{region}{zone}")
               ["Subnet"]["SubnetId"] for number, zone in enumerate("ab")]
    return f'name = "{region}"\nvpc = "{vpc}"\nsubnets = {json.dumps(subnets)}\n'


def remembered(world: Sandbox, region: str, table: str) -> tuple[TunnelState, int]:
    """The state of the controller of `region`, and the record's `version`, 0 if there is none yet."""
    answer = world.client("dynamodb", region).get_item(
        TableName=table, ConsistentRead=True, Key={"pk": {"S": KEY[0]}, "sk": {"S": KEY[1]}})
    if "Item" not in answer:
        return TunnelState(), 0
    found = decode(json.loads(answer["Item"]["body"]["S"]), SCHEMA, ItemKey(table, *KEY))
    if isinstance(found, Unreadable):
        raise WorldError(f"the state of the tunnels in {region} is unreadable ({found})")
    return found.value, int(answer["Item"]["version"]["N"])


class Tunnels:
    """The tunnel hosts of a stack, `<name of the fleet>-<stage>`."""

    def __init__(self, world: Sandbox, far: Far, keyring: Keyring, fleet: Fleet, stage: str) -> None:
        self.world, self.far, self.keyring, self.fleet, self.stage = world, far, keyring, fleet, stage
        self.stack = f"{fleet.name}-{stage}"
        self._tables: dict[str, MemoryTable] = {}

    def begin(self, region: str) -> None:
        """Tunnel hosts in `region`, with a key, and healthy."""
        self.deploy(region)
        self.rotate(region)
        eventually(lambda: len(self.healthy(region)) == len(self.hosts(region)) > 1, f"healthy hosts in {region}")

    def deploy(self, region: str) -> None:
        """The template's tunnels in `region`, without the rest of a package."""
        template = tunnel_resources.merged({"AWSTemplateFormatVersion": "2010-09-09"}, self.fleet)
        stacks = self.world.client("cloudformation", region)
        stacks.create_stack(StackName=self.stack, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"])

        def ended() -> str:
            status = str(stacks.describe_stacks(StackName=self.stack)["Stacks"][0]["StackStatus"])
            return "" if status.endswith("IN_PROGRESS") else status

        if (status := eventually(ended, f"the stack in {region}")) != "CREATE_COMPLETE":
            raise WorldError(f"the stack {self.stack} in {region} is {status}: {self._reasons(stacks)}")
        self.identify(region)

    def identify(self, region: str) -> None:
        """Let the hosts of `region` be who the role of the stack, which is deployed, says."""
        role = self.world.client("cloudformation", region).describe_stack_resource(
            StackName=self.stack, LogicalResourceId="TunnelsRole")
        self.keyring.identify(region, role["StackResourceDetail"]["PhysicalResourceId"])

    def rotate(self, region: str) -> None:
        """A new key for the hosts of `region`, all the way, by the operation `tunnels.rotate_keys`."""
        deadline = time.monotonic() + _ROTATION_SECONDS
        while (answer := self.step(region))["status"] == "later":
            if time.monotonic() > deadline:
                raise WorldError(f"the key in {region} has not changed after {_ROTATION_SECONDS:.0f} s ({answer})")
            time.sleep(_LOOK_SECONDS)  # between two looks at what the hosts do
        if answer["status"] != "done":
            raise WorldError(f"the key in {region} does not change ({answer})")

    def step(self, region: str) -> dict[str, Any]:
        """One run of the operation, applied."""
        table = self._tables.setdefault(region, MemoryTable())
        aws = {known.name: ports_at(known.name, ACCOUNT, self.world.client) for known in self.fleet.regions}
        context = RegionContext(region, self.stage, self.fleet, MemoryTable(), table, {}, MemoryTopic(),
                                aws_regions=aws)
        return engine.run(ROTATE, context, {"apply": True}, "manual")

    def endpoint(self, region: str) -> tuple[str, int]:
        """Address and port at which the balancer of `region` leads to the primary's database."""
        elb = self.world.client("elbv2", region)
        name = elb.describe_load_balancers(Names=[managed_name(self.stack)])["LoadBalancers"][0]
        where = self.world.addresses()[name["DNSName"]]
        return where.host, where.ports[PORT]

    def hosts(self, region: str) -> list[str]:
        """The hosts of `region` that are in service."""
        found = self.world.client("autoscaling", region).describe_auto_scaling_groups(
            AutoScalingGroupNames=[managed_name(self.stack)])["AutoScalingGroups"][0]["Instances"]
        return [one["InstanceId"] for one in found if one["LifecycleState"] == "InService"]

    def address(self, region: str, instance: str) -> str:
        """The address of a host."""
        found = self.world.client("ec2", region).describe_instances(InstanceIds=[instance])
        return str(found["Reservations"][0]["Instances"][0]["PrivateIpAddress"])

    def carrier(self, region: str) -> str:
        """The host of `region` through which a client stays connected. Any where nobody does."""
        hosts = {self.address(region, one): one for one in self.hosts(region)}
        return hosts[carrier(list(hosts), PORT)]

    def healthy(self, region: str) -> set[str]:
        """The hosts of `region` that the balancer sends to."""
        elb = self.world.client("elbv2", region)
        group = elb.describe_target_groups(Names=[managed_name(self.stack)])["TargetGroups"][0]["TargetGroupArn"]
        health = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return {one["Target"]["Id"] for one in health if one["TargetHealth"]["State"] == "healthy"}

    def sound(self, region: str, memory: TunnelState) -> bool:
        """Whether all hosts of `region`, two or more, are healthy, both in the controller's state and for the balancer.
        """
        hosts, settings = set(self.hosts(region)), self.fleet.tunnels
        carry = {slot.instance for slot in memory.members if slot.phase == "healthy" and slot.streak and slot.streak.up
                 and settings and slot.streak.count >= settings.rise}
        return len(hosts) > 1 and carry == hosts == self.healthy(region)

    def send(self, region: str, instance: str, action: str) -> dict[str, Any]:
        """The result of the stack's document on one host, as GetCommandInvocation gives it at the end."""
        ssm = self.world.client("ssm", region)
        sent = ssm.send_command(
            InstanceIds=[instance], DocumentName=managed_name(self.stack), Parameters={"Action": [action]})

        def ended() -> Any:
            told = ssm.get_command_invocation(CommandId=sent["Command"]["CommandId"], InstanceId=instance)
            return told["Status"] not in ("Pending", "InProgress", "Delayed") and told

        found: dict[str, Any] = eventually(ended, f"the end of {action} on {instance}")
        return found

    def _reasons(self, stacks: Any) -> str:
        events = stacks.describe_stack_events(StackName=self.stack)["StackEvents"]
        return "; ".join(f"{one['LogicalResourceId']}: {one.get('ResourceStatusReason')}" for one in events
                         if one["ResourceStatus"].endswith("FAILED"))
