"""The permissions of the tunnels' Lambdas: none missing, none superfluous.

Three stages of one fleet, for no fleet has all of it: endpoints in an Auto Scaling group, endpoints by a tag, and the
shipped hosts, whose key can be changed.
"""

import contextlib
import functools
import time
import uuid
from collections.abc import Iterator

import pytest

from chalicelib.config import tunnel_hosts
from chalicelib.config.fleet import parse
from chalicelib.databases import state as databases
from chalicelib.engine import effects, schema
from chalicelib.tunnels.keys.openssh import Key, listed
from chalicelib.tunnels.keys.state import KEY, SCHEMA, Command, RotationState
from chalicelib.tunnels.state import ATTEMPTS_MAX, EFFECTS_PK, PEER_REPORT, PEER_REPORT_PK, PeerReport
from commands import roots
from sandbox.faults import REFUSED
from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.project import copy
from tests.world.endpoints import DOCUMENT, GROUP, PORT, SLOTS, TAG, TARGETS, Tunnels, build, leading, slot
from tests.world.least_privilege import (
    HOME,
    STANDBY,
    Exercise,
    Lambdas,
    deploy,
    each_is_needed,
    functions,
    granted,
    what_is_taken_away_is_denied,
)

pytestmark = pytest.mark.world

PRIMARY, OTHER = STANDBY, "ap-southeast-1"
_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDwlGrWMHmPQYyUiHYwDXoNHLvyMnILVtNkFYcM8OVVk"
_COMMON = f"""
primary = "{PRIMARY}"
slots = {SLOTS}
port = {PORT}
every = "5s"
stale = "60s"
"""
_NAMED = f"""{_COMMON}target_group = "{TARGETS}"
document = "{DOCUMENT}"
"""
_DATABASES = """
[stages.{0}.databases]
flavour = "mariadb"
primary = "{1}"
secret = "watch"
[[stages.{0}.databases.servers]]
region = "{1}"
host = "127.0.0.1"
"""
WRITTEN = (roots.PRODUCT / "fleet.toml").read_text() + "".join(
    _DATABASES.format(stage, PRIMARY) for stage in ("policy", "hosts")) + f"""
[stages.policy.tunnels]{_NAMED}group = "{GROUP}"
[stages.tagged.tunnels]{_NAMED}tag = "{TAG[0]}={TAG[1]}"
[stages.hosts.tunnels]{_COMMON}
[stages.hosts.tunnels.hosts]
gateway = "gateway.example.com"
host_keys = ["{_HOST_KEY}"]
database = "10.0.0.9"
[[stages.hosts.tunnels.hosts.ways]]
region = "{OTHER}"
gateway = "gateway.example.org"
host_keys = ["{_HOST_KEY}"]
database = "10.0.1.9"
"""
_PLACE = """
[[stages.hosts.tunnels.hosts.regions]]
name = "{}"
vpc = "{}"
subnets = ["{}"]
"""
_NOWHERE = _PLACE.format(HOME, "vpc-00000000", "subnet-00000000") + _PLACE.format(
    OTHER, "vpc-00000000", "subnet-00000000")
FLEETS = {stage: parse(WRITTEN + _NOWHERE, stage=stage) for stage in ("policy", "tagged", "hosts")}


# What the Lambdas go through.


def forgotten(on: Tunnels) -> None:
    """Nothing has been done yet, and all regions know who the primary is."""
    on.forgotten()
    on.put(*databases.PRIMARY_KEY, schema.encode(databases.PrimaryRecord(PRIMARY, 1), databases.PRIMARY))
    on.put(PEER_REPORT_PK, HOME, schema.encode(PeerReport(True, 1), PEER_REPORT))


def ordinary(on: Tunnels) -> list[str]:
    """One endpoint serves, one has failed for long, one answers again and is still out; their ids."""
    forgotten(on)
    serving, failing, back = seats = on.seats()
    on.powered(*seats)
    on.balanced(serving, failing)
    now = time.time()
    on.known(slot(1, serving, "healthy", True), slot(2, failing, "healthy", False, out_of_service_since=now - 1000),
             slot(3, back, "drained", True, out_of_service_since=now - 60))
    return seats


@contextlib.contextmanager
def serving(on: Tunnels) -> Iterator[list[str]]:
    """The ordinary world, and the one that serves gets connections while the block lasts."""
    serves, _, back = ordinary(on)
    with leading(on, serves, back):
        on.served(serves)
        # Again, since that took its time, and the slots know when they were seen.
        yield ordinary(on)


def restarting(on: Tunnels) -> None:
    """Nothing answers, and one endpoint is being restarted."""
    forgotten(on)
    _, one, *_ = seats = on.seats()
    key = f"2/{one}/1/1/restart"
    on.known(slot(1, seats[0], "healthy", None), slot(2, one, "restarting", False, last_action=key),
             slot(3, seats[2], "drained", None))
    record = effects.EffectRecord(time.time(), "done", reference=str(uuid.uuid4()))
    on.remember(EFFECTS_PK, key, schema.encode(record, effects.RECORD))


def dark(on: Tunnels) -> None:
    """Nothing answers but another region, and an endpoint was restarted in vain; a stopped one waits to be started."""
    forgotten(on)
    serving, failing, stopped = on.seats()
    if on.tagged:
        on.powered(serving, failing, stopped=stopped)
    now = time.time()
    on.put(PEER_REPORT_PK, "ap-southeast-1", schema.encode(PeerReport(True, now - 20), PEER_REPORT))
    on.known(slot(1, serving, "healthy", None), slot(2, failing, "drained", False, restart_count=ATTEMPTS_MAX),
             slot(3, stopped, "replacing", None), all_down_since=now - 40)


def heal(on: Lambdas) -> None:
    """Rounds in which all is done that can be, in the order in which it costs least."""
    assert isinstance(on, Tunnels)
    with serving(on):
        on.invoke("tunnels_heal", {"apply": True})
    for way in (restarting, dark):
        way(on)
        on.invoke("tunnels_heal", {"apply": True})


def lead(on: Lambdas) -> None:
    """A round after the primary has moved to another region."""
    assert isinstance(on, Tunnels)
    on.forgotten()
    serving, *others = on.seats()
    on.put(*databases.PRIMARY_KEY, schema.encode(databases.PrimaryRecord(OTHER, 1, 1, (PRIMARY,)),
                                                 databases.PRIMARY))
    slots = [slot(number, id, "drained", None, connected_region=PRIMARY) for number,
             id in enumerate((serving, *others), 1)]
    on.known(*slots)
    on.invoke("tunnels_heal", {"apply": True})


def status(on: Lambdas) -> None:
    """A look while an endpoint is restarted."""
    assert isinstance(on, Tunnels)
    restarting(on)
    on.invoke("tunnels_status", {})


def by_hand(ask: str, number: int, action: str, on: Lambdas) -> None:
    """`ask` of an endpoint while nothing answers, once that AWS refuses (people are told), and once that it does."""
    assert isinstance(on, Tunnels)
    restarting(on)
    on.invoke(f"tunnels_{ask}", {"endpoint": on.seats()[number], "apply": True})
    for refused in (action, ""):
        with serving(on) as seats:
            if refused:
                on.world.refuse(refused, HOME, REFUSED, times=1)
            on.invoke(f"tunnels_{ask}", {"endpoint": seats[number], "apply": True})


def replace(on: Lambdas) -> None:
    """An endpoint that fails."""
    assert isinstance(on, Tunnels)
    by_hand("replace", 1, "ec2:StopInstances" if on.tagged else "autoscaling:TerminateInstanceInAutoScalingGroup", on)


def rotate(on: Lambdas) -> None:
    """A new key; one that hosts lack, for long; and one that all have, after a command of which nothing is heard."""
    assert isinstance(on, Tunnels)
    _nothing_pending(on)
    on.remember(*KEY, schema.encode(RotationState(done=True), SCHEMA))
    on.invoke(ROTATES, {"apply": True})
    _nothing_pending(on)
    key = _told_and_kept(on)
    members = eventually(on.members)
    had = dict.fromkeys(members, key.version)
    command = Command(members[0], 1, str(uuid.uuid4()))
    tunnels = on.fleet.tunnels
    assert tunnels and tunnels.hosts
    routes = tunnel_hosts.primary_routes(tunnels.hosts, tunnels.primary)
    seen = dict.fromkeys(members, tuple(route.region for route in routes))
    for state in (RotationState(key.version, since=1),
                  RotationState(key.version, loaded=had, admitted=seen, command=command)):
        on.remember(*KEY, schema.encode(state, SCHEMA))
        on.invoke(ROTATES, {"apply": True})


def _nothing_pending(on: Tunnels) -> None:
    """No key is on its way."""
    secret, name = on.world.client("secretsmanager", HOME), tunnel_hosts.private_key_secret(on.stack)
    for version, labels in secret.describe_secret(SecretId=name).get("VersionIdsToStages", {}).items():
        if "AWSPENDING" in labels:
            secret.update_secret_version_stage(SecretId=name, VersionStage="AWSPENDING", RemoveFromVersionId=version)


def _told_and_kept(on: Tunnels) -> Key:
    """A key that is on its way, whatever became of the Lambda's own."""
    key = Key(bytes(32), str(uuid.uuid4()))
    for gateway in (PRIMARY, OTHER):
        on.world.client("ssm", gateway).put_parameter(
            Name=tunnel_hosts.public_keys_parameter(on.stack, HOME), Value=listed([key.line()]), Type="String",
                                                      Overwrite=True)
    on.world.client("secretsmanager", HOME).put_secret_value(
        SecretId=tunnel_hosts.private_key_secret(on.stack), ClientRequestToken=key.version, SecretString=key.private(),
        VersionStages=["AWSPENDING"])
    return key


EXERCISES: dict[str, Exercise] = {
    "tunnels_heal": heal, "tunnels_status": status, "tunnels_replace": replace,
    "tunnels_drain": functools.partial(by_hand, "drain", 1, "elasticloadbalancing:DeregisterTargets"),
    "tunnels_undrain": functools.partial(by_hand, "undrain", 2, "elasticloadbalancing:RegisterTargets")}
ROTATES = "tunnels_rotate_keys"


# The world.


def place(world: Sandbox) -> str:
    """The networks of the shipped hosts, as fleet.toml names them."""
    ec2 = world.client("ec2", HOME)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZone=f"{HOME}a")["Subnet"]["SubnetId"]
    return _PLACE.format(HOME, vpc, subnet) + _PLACE.format(OTHER, "vpc-00000000", "subnet-00000000")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Tunnels]]:
    """The real Lambdas of each stage, in one region."""
    project = copy(tmp_path_factory.mktemp("tunnels"))
    with Sandbox.start() as world:
        world.pace(20)
        build(world)
        (project / "fleet.toml").write_text(WRITTEN + place(world))
        yield {stage: Tunnels(world, deploy(world, project, stage, [HOME])) for stage in FLEETS}


def exercise(stage: str, function: str) -> Exercise:
    """What a Lambda goes through in a stage."""
    return lead if (stage, function) == ("hosts", "tunnels_heal") else {**EXERCISES, ROTATES: rotate}[function]


def test_every_lambda_of_the_tunnels_is_exercised() -> None:
    assert {*EXERCISES, ROTATES} == functions("tunnels_")


@pytest.mark.parametrize(("stage", "function"), [
    *((stage, function) for stage in ("policy", "tagged") for function in EXERCISES), ("hosts", ROTATES)])
def test_no_permission_is_missing_or_superfluous(stages: dict[str, Tunnels], stage: str, function: str) -> None:
    each_is_needed(stages[stage], function, exercise(stage, function))


def test_the_move_of_the_tunnels_needs_what_point_grants(stages: dict[str, Tunnels]) -> None:
    on = stages["hosts"]
    on.world.forget_calls()
    exercise("hosts", "tunnels_heal")(on)
    wanted = {one for one in granted("tunnels_heal", on.fleet) if one[0] == "Point"}
    assert wanted and wanted <= on.world.needed(f"{on.stack}-tunnels_heal")


def test_what_is_taken_away_is_denied(stages: dict[str, Tunnels]) -> None:
    what_is_taken_away_is_denied(stages["policy"], "tunnels_drain", exercise("policy", "tunnels_drain"))


@pytest.mark.parametrize("function", [ROTATES])
@pytest.mark.parametrize("stage", ["policy", "tagged"])
def test_whoever_keeps_hosts_of_their_own_lets_nobody_change_keys(stage: str, function: str) -> None:
    assert {sid for sid, _ in granted(function, FLEETS[stage])} == {
        "Alert", "Alerts", "Journal", "Remember"}
