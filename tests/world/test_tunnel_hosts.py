"""Tunnel hosts as the template makes them: killed, hung, restarted, replaced, given other keys, as a client sees it.

Once with the programs that are found, where those are real ones, and once with our own in their place.
"""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.config import tunnel_hosts as host
from chalicelib.config.tunnels import managed_name
from chalicelib.mysql.handshake import LONGEST, Handshake, HandshakeResult
from sandbox import processes
from sandbox.hosts import programs
from sandbox.hosts.primary_region import DATABASE, DATABASE_PORT, GATEWAY, GATEWAY_PORT, PULL
from sandbox.hosts.programs import Programs
from sandbox.hosts.tunnels import HEALTH, HEALTH_PORT, KEYS, STACK, TUNNEL, Tunnels, product
from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.world.hosts import get

pytestmark = pytest.mark.world
PRIMARY, HERE = "us-east-1", "eu-west-1"


@pytest.fixture(scope="module", params=["own", "real"])
def tunnels(request: pytest.FixtureRequest) -> Iterator[Tunnels]:
    """Two hosts in one region, where ten errors shut a host out; their balancer's times pass ten times as fast."""
    used = programs.found() if request.param == "real" else Programs()
    if request.param == "real" and not (used.sshd and used.mariadbd):
        pytest.skip("needs sshd and mariadbd; apt-get install openssh-server mariadb-server")
    with Sandbox.start() as world:
        world.pace(10)
        with product(world, PRIMARY, [HERE], most=10, programs=used) as made:
            yield made


@pytest.fixture(autouse=True)
def well(tunnels: Tunnels) -> None:
    """Before each test, both hosts are healthy; if they are not, what they and the gateway have said is told."""
    try:
        eventually(lambda: len(tunnels.healthy(HERE)) == len(tunnels.hosts(HERE)) == 2)
    except AssertionError as error:
        said = [(id, service, tunnels.world.log(id, service)[-500:]) for id in tunnels.hosts(HERE)
                for service in (KEYS, TUNNEL, HEALTH)]
        said += [(tunnels.far.gateway, service, tunnels.world.log(tunnels.far.gateway, service)[-500:])
                 for service in (GATEWAY, PULL)]
        raise AssertionError(f"{tunnels.healthy(HERE)} are healthy; {said}") from error


def ask(place: tuple[str, int], seconds: float = 2.0) -> HandshakeResult:
    """A polite probe's finding, as any client's: through the balancer if `place` is its."""
    talk = Handshake()
    try:
        with socket.create_connection(place, seconds) as connection:
            while talk.found is None:
                data = connection.recv(LONGEST)
                if not data:
                    return talk.connection_closed()
                connection.sendall(talk.data_received(data))
    except TimeoutError:
        return talk.timed_out()
    except ConnectionError:
        return talk.connection_reset()
    return talk.found


def pids(tunnels: Tunnels, instance: str, service: str = TUNNEL) -> set[int]:
    """The processes of a service."""
    return processes.marked(f"{tunnels.world.state.mark}/{HERE}/{instance}/{service}/")


def health(tunnels: Tunnels, instance: str) -> str:
    """What the health port says when it says that all is well; else nothing."""
    return get(tunnels.address(HERE, instance), "/", HEALTH_PORT)


def private_key(tunnels: Tunnels, stage: str = "AWSCURRENT") -> str:
    """The key in the secret."""
    found = tunnels.world.client("secretsmanager", HERE).get_secret_value(
        SecretId=host.private_key_secret(STACK), VersionStage=stage)
    return str(found["SecretString"])


async def log_in(tunnels: Tunnels, key: str, place: tuple[str, int], command: str = "") -> str:
    """What comes of a login with `key`, and of a way to `place` or a command."""
    async with asyncssh.connect(
            tunnels.far.gateway_address, GATEWAY_PORT, username=tunnels.far.user, known_hosts=None, agent_path=None,
            client_keys=[asyncssh.import_private_key(key)], config=None) as connection:
        if command:
            return str((await connection.run(command)).stdout)
        _, writer = await connection.open_connection(*place)
        writer.close()
        return "a way"


def test_a_client_reaches_the_database_through_the_balancer(tunnels: Tunnels) -> None:
    assert ask(tunnels.endpoint(HERE)).side == "up"
    assert all(health(tunnels, one).startswith("up answered") for one in tunnels.hosts(HERE))


def test_a_killed_tunnel_comes_back_by_itself_and_clients_go_on_meanwhile(tunnels: Tunnels) -> None:
    one, _ = tunnels.hosts(HERE)
    before = pids(tunnels, one)
    tunnels.world.kill(one, TUNNEL)
    eventually(lambda: ask(tunnels.endpoint(HERE)).side == "up")
    eventually(lambda: (found := pids(tunnels, one)) and not found & before)
    eventually(lambda: ask((tunnels.address(HERE, one), 3306)).side == "up")


def test_a_hung_tunnel_is_found_and_taken_out_and_its_thaw_does_no_harm(tunnels: Tunnels) -> None:
    one, other = tunnels.hosts(HERE)
    errors = counted(tunnels)
    tunnels.world.hang(one, TUNNEL)
    # A connection is taken all the same: a balancer that only connects would see nothing.
    with socket.create_connection((tunnels.address(HERE, one), 3306), 2):
        eventually(lambda: tunnels.healthy(HERE) == {other})
    assert [ask(tunnels.endpoint(HERE)).side for _ in range(8)] == ["up"] * 8
    tunnels.world.thaw(one, TUNNEL)
    eventually(lambda: tunnels.healthy(HERE) == {one, other})
    # The connection above was ours, closed without a word: it may count as one. The probes never do. Our own database
    # tells what it counts; that a real one counts no probes is for tests/tunnels/test_probe_world.py.
    assert counted(tunnels) <= errors + 1


def counted(tunnels: Tunnels) -> int:
    """The errors that our own database has counted, of all hosts."""
    lines = tunnels.world.log(tunnels.far.database, DATABASE).splitlines()
    return sum("errors" in line and " of " in line for line in lines)


def test_the_document_restarts_a_hung_tunnel(tunnels: Tunnels) -> None:
    one, _ = tunnels.hosts(HERE)
    before = pids(tunnels, one)
    tunnels.world.hang(one, TUNNEL)
    said = tunnels.send(HERE, one, "restart")
    assert (said["Status"], said["ResponseCode"]) == ("Success", 0), said
    assert not pids(tunnels, one) & before
    eventually(lambda: ask((tunnels.address(HERE, one), 3306)).side == "up")


def test_the_document_takes_no_other_word(tunnels: Tunnels) -> None:
    with pytest.raises(ClientError, match="InvalidParameters"):
        tunnels.send(HERE, tunnels.hosts(HERE)[0], "restart; id")


def test_a_terminated_host_is_replaced_by_one_that_is_ready_by_itself(tunnels: Tunnels) -> None:
    one, other = tunnels.hosts(HERE)
    tunnels.world.client("autoscaling", HERE).terminate_instance_in_auto_scaling_group(
        InstanceId=one, ShouldDecrementDesiredCapacity=False)
    eventually(lambda: one not in tunnels.healthy(HERE) and len(tunnels.healthy(HERE)) == 2)
    assert other in tunnels.healthy(HERE) and ask(tunnels.endpoint(HERE)).side == "up"


def test_a_stopped_host_comes_back_with_its_key(tunnels: Tunnels) -> None:
    one, _ = tunnels.hosts(HERE)
    (disk := folder(tunnels, one) / "run" / "key").unlink()  # memory is lost with the power
    tunnels.world.client("ec2", HERE).reboot_instances(InstanceIds=[one])
    eventually(disk.exists)
    eventually(lambda: ask((tunnels.address(HERE, one), 3306)).side == "up")


def folder(tunnels: Tunnels, instance: str) -> Path:
    """The instance's disk."""
    return Path(f"/proc/{min(pids(tunnels, instance, HEALTH))}/cwd").resolve()


def test_a_change_of_key_cuts_no_tunnel_and_shuts_the_old_key_out(tunnels: Tunnels) -> None:
    running = {one: pids(tunnels, one) for one in tunnels.hosts(HERE)}
    old = private_key(tunnels)
    place = (tunnels.far.database_address, DATABASE_PORT)
    assert asyncssh_says(tunnels, old, place) == "a way"
    tunnels.rotate(HERE)
    assert {one: pids(tunnels, one) for one in tunnels.hosts(HERE)} == running
    new = private_key(tunnels)
    assert new != old and asyncssh_says(tunnels, new, place) == "a way"
    eventually(lambda: asyncssh_says(tunnels, old, place) == "PermissionDenied")
    for one in running:
        assert (folder(tunnels, one) / "run" / "key").read_text() == new
        tunnels.send(HERE, one, "restart")
        eventually(lambda one=one: ask((tunnels.address(HERE, one), 3306)).side == "up")  # type: ignore[misc]


def asyncssh_says(tunnels: Tunnels, key: str, place: tuple[str, int], command: str = "") -> str:
    """`log_in`, or the name of the error."""
    try:
        return asyncio.run(log_in(tunnels, key, place, command))
    except asyncssh.Error as error:
        return type(error).__name__


def test_a_key_opens_a_way_to_the_database_and_nothing_else(tunnels: Tunnels) -> None:
    key = private_key(tunnels)
    elsewhere = (tunnels.far.gateway_address, GATEWAY_PORT)
    assert asyncssh_says(tunnels, key, elsewhere) == "ChannelOpenError"
    said = asyncssh_says(tunnels, key, elsewhere, "echo a shell")
    assert "a shell" not in said


def test_another_gateways_host_key_is_never_accepted(tunnels: Tunnels) -> None:
    ssm, name = tunnels.world.client("ssm", HERE), host.known_hosts_parameter(STACK)
    right = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    wrong = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    one, _ = tunnels.hosts(HERE)
    ssm.put_parameter(Name=name, Value=f"lamplighter-gateway-{PRIMARY} {wrong}", Overwrite=True)
    try:
        said = tunnels.send(HERE, one, "reload-keys")
    finally:
        ssm.put_parameter(Name=name, Value=right, Overwrite=True)
    assert (said["Status"], said["ResponseCode"]) == ("Failed", 3), said
    assert "does not let this key in" in said["StandardErrorContent"]
    assert (folder(tunnels, one) / "run" / "known_hosts").read_text() == right, "what is in use stays in use"
    assert sorted(path.name for path in (folder(tunnels, one) / "run").iterdir()) == ["key", "known_hosts", "way.env"]
    assert tunnels.send(HERE, one, "reload-keys")["Status"] == "Success"


def test_a_private_key_is_in_memory_for_one_user_and_in_no_log(tunnels: Tunnels) -> None:
    one, other = tunnels.hosts(HERE)
    secret = private_key(tunnels).splitlines()[3]
    assert (folder(tunnels, one) / "run" / "key").stat().st_mode & 0o777 == 0o600
    said = json.dumps(tunnels.send(HERE, one, "reload-keys"))
    said += "".join(tunnels.world.log(id, service) for id in (one, other) for service in (KEYS, TUNNEL, HEALTH))
    said += tunnels.world.log(tunnels.far.gateway, "gateway")
    said += json.dumps(tunnels.world.client("cloudformation", HERE).get_template(StackName=STACK)["TemplateBody"])
    assert "version=" in said and secret not in said


def acting_as(tunnels: Tunnels, role: str) -> boto3.Session:
    """Somebody with this role."""
    given = tunnels.keyring.session(HERE, role)
    return boto3.Session(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], HERE)


def test_a_host_may_read_its_key_and_its_gateways_host_keys_and_nothing_else(tunnels: Tunnels) -> None:
    role = tunnels.world.client("cloudformation", HERE).describe_stack_resource(
        StackName=STACK, LogicalResourceId="TunnelsRole")["StackResourceDetail"]["PhysicalResourceId"]
    session = acting_as(tunnels, role)
    secrets = session.client("secretsmanager", endpoint_url=tunnels.world.endpoint)
    ssm = session.client("ssm", endpoint_url=tunnels.world.endpoint)
    assert secrets.get_secret_value(SecretId=host.private_key_secret(STACK))["SecretString"]
    assert ssm.get_parameter(Name=host.known_hosts_parameter(STACK))
    for client, call, asked in (
            (secrets, "put_secret_value", {"SecretId": host.private_key_secret(STACK), "SecretString": "mine"}),
            (secrets, "get_secret_value", {"SecretId": "another"}),
            (ssm, "get_parameter", {"Name": "/another"}),
            (ssm, "put_parameter", {"Name": host.known_hosts_parameter(STACK), "Value": "mine", "Overwrite": True}),
            (ssm, "send_command", {"InstanceIds": tunnels.hosts(HERE), "DocumentName": managed_name(STACK)}),
            (session.client("ec2", endpoint_url=tunnels.world.endpoint), "describe_instances", {})):
        with pytest.raises(ClientError, match=r"AccessDenied|UnauthorizedOperation"):
            getattr(client, call)(**asked)


def test_without_systems_manager_and_secrets_manager_tunnels_come_back_all_the_same(tunnels: Tunnels) -> None:
    one, _ = tunnels.hosts(HERE)
    before = pids(tunnels, one)
    for action in ("ssm:GetParameter", "secretsmanager:GetSecretValue"):
        tunnels.world.refuse(action, HERE)
    try:
        tunnels.world.kill(one, TUNNEL)
        eventually(lambda: (found := pids(tunnels, one)) and not found & before)
        eventually(lambda: ask((tunnels.address(HERE, one), 3306)).side == "up")
    finally:
        tunnels.world.clear_faults()


def test_a_key_that_the_gateway_was_not_told_of_is_not_taken_though_the_old_one_would_be(tunnels: Tunnels) -> None:
    secrets, one = tunnels.world.client("secretsmanager", HERE), tunnels.hosts(HERE)[0]
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    made = secrets.put_secret_value(SecretId=host.private_key_secret(STACK), SecretString=stranger,
                                    VersionStages=["AWSPENDING"])
    try:
        said = tunnels.send(HERE, one, "reload-keys")
    finally:
        secrets.update_secret_version_stage(
            SecretId=host.private_key_secret(STACK), VersionStage="AWSPENDING", RemoveFromVersionId=made["VersionId"])
    assert (said["Status"], said["ResponseCode"]) == ("Failed", 3), said
    assert (folder(tunnels, one) / "run" / "key").read_text() == private_key(tunnels)


@pytest.mark.parametrize(("group", "allowed"), [(managed_name(STACK), True), ("another", False)])
def test_who_may_command_the_hosts_of_one_group_may_command_no_others(
    tunnels: Tunnels, group: str, allowed: bool
) -> None:
    role = f"commander-{allowed}-{'real' if tunnels.far.user != 'tunnel' else 'own'}"
    iam = tunnels.world.client("iam", HERE)
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}))
    which = {"StringEquals": {"ssm:resourceTag/aws:autoscaling:groupName": group}}
    iam.put_role_policy(
        RoleName=role,
        PolicyName="own",
        PolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Action": "ssm:SendCommand",
                        "Resource": f"arn:aws:ssm:*:*:document/{managed_name(STACK)}",
                    },
                    {
                        "Effect": "Allow",
                        "Action": "ssm:SendCommand",
                        "Resource": "arn:aws:ec2:*:*:instance/*",
                        "Condition": which,
                    },
                ],
            }
        ),
    )
    ssm = acting_as(tunnels, role).client("ssm", endpoint_url=tunnels.world.endpoint)
    asked = {"InstanceIds": tunnels.hosts(HERE)[:1], "DocumentName": managed_name(STACK)}
    if allowed:
        assert ssm.send_command(**asked, Parameters={"Action": ["reload-keys"]})["Command"]["CommandId"]
    else:
        with pytest.raises(ClientError, match="AccessDenied"):
            ssm.send_command(**asked)
