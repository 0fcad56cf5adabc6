"""EC2 in the sandbox: instances are processes on addresses of their own, whose states and faults are real."""

import base64
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox import processes
from sandbox.world import Sandbox, WorldError
from testing.eventually import eventually
from tests.world.hosts import IMAGE, add_image, address, checks, disk, get, instance, launch, state

pytestmark = pytest.mark.world
HOME, OTHER = "eu-west-1", "us-east-1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with an image of web servers."""
    folder = tmp_path_factory.mktemp("image")
    with Sandbox.start() as made:
        add_image(made, folder, show="env > seen; cat $USER_DATA > data; sleep 1000 & exec sleep 1000")
        yield made


def mark(world: Sandbox, region: str, one: str, service: str = "") -> str:
    """The mark of an instance's processes."""
    return f"{world.state.mark}/{region}/{one}/{service}"


def test_every_instance_has_an_address_of_its_own_that_describe_instances_shows(world: Sandbox) -> None:
    ids = launch(world, HOME, 2) + launch(world, OTHER)
    shown = [instance(world, region, one) for region, one in zip((HOME, HOME, OTHER), ids, strict=True)]
    addresses = [one["PrivateIpAddress"] for one in shown]
    assert len(set(addresses)) == 3 and all(one.startswith("127.") for one in addresses)
    assert [one["PublicIpAddress"] for one in shown] == addresses
    assert [get(one) for one in addresses] == ids


def test_a_filter_by_id_keeps_all_others_out(world: Sandbox) -> None:
    one, _ = launch(world, HOME, 2)
    found = world.client("ec2", HOME).describe_instances(Filters=[{"Name": "instance-id", "Values": [one, "i-0"]}])
    assert [each["InstanceId"] for some in found["Reservations"] for each in some["Instances"]] == [one]


def test_an_instance_is_pending_until_its_processes_run(world: Sandbox) -> None:
    made = world.client("ec2", HOME).run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1)["Instances"][0]
    assert made["State"]["Name"] == "pending"
    eventually(lambda: state(world, HOME, made["InstanceId"]) == "running")
    assert processes.marked(mark(world, HOME, made["InstanceId"]))


def test_a_service_knows_its_instance_and_its_user_data_and_nothing_of_this_machine(
    world: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "of the host")
    one = launch(world, HOME, UserData="#!/bin/sh\necho hällo\n")[0]
    home = disk(world, HOME, one)
    eventually(lambda: (home / "data").exists() and (home / "data").read_text() == "#!/bin/sh\necho hällo\n")
    seen = dict(line.split("=", 1) for line in (home / "seen").read_text().splitlines())
    assert (seen["INSTANCE_ID"], seen["REGION"], seen["ADDRESS"]) == (one, HOME, address(world, HOME, one))
    assert seen["PATH"].split(":")[0] == str(home / "shims")
    assert not {"CANARY", "PYTHONPATH"} & seen.keys() and world.state.secret_key not in str(seen)


def test_an_unknown_image_runs_nothing(world: Sandbox) -> None:
    made = world.client("ec2", HOME).run_instances(ImageId="ami-0000000000000000f", MinCount=1, MaxCount=1)
    one = made["Instances"][0]["InstanceId"]
    eventually(lambda: state(world, HOME, one) == "running")
    assert not processes.marked(mark(world, HOME, one))


def test_as_many_as_asked_for_are_launched_and_a_template_fills_in_the_rest(world: Sandbox) -> None:
    ec2 = world.client("ec2", HOME)
    ec2.create_launch_template(LaunchTemplateName="hosts", LaunchTemplateData={
        "ImageId": IMAGE, "UserData": base64.b64encode(b"from the template").decode(),
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "host"}]}]})
    made = ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "hosts"}, MinCount=1, MaxCount=2)["Instances"]
    assert len(made) == 2
    for one in made:
        eventually(lambda one=one: get(one["PrivateIpAddress"]) == one["InstanceId"])  # type: ignore[misc]
    shown = instance(world, HOME, made[0]["InstanceId"])
    assert (shown["ImageId"], shown["Tags"]) == (IMAGE, [{"Key": "Name", "Value": "host"}])
    assert (disk(world, HOME, made[0]["InstanceId"]) / "user-data").read_text() == "from the template"
    with pytest.raises(ClientError, match="NotFound"):
        ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "no such"}, MinCount=1, MaxCount=1)


def test_user_data_that_is_no_base64_is_refused(world: Sandbox) -> None:
    ec2 = world.client("ec2", HOME)
    ec2.create_launch_template(LaunchTemplateName="bad", LaunchTemplateData={"ImageId": IMAGE, "UserData": "?"})
    with pytest.raises(ClientError, match="Invalid BASE64"):
        ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "bad"}, MinCount=1, MaxCount=1)


def test_a_dead_service_is_started_again_after_a_second(world: Sandbox) -> None:
    one = launch(world, HOME)[0]
    where = address(world, HOME, one)
    first, began = get(where, "/pid"), time.monotonic()
    world.kill(one, "web")
    assert not Path(f"/proc/{first}").exists(), "kill came back before the service was dead"
    assert eventually(lambda: get(where, "/pid")) != first
    assert time.monotonic() - began >= 1.0


def test_killing_a_service_kills_what_it_started_and_spares_the_others(world: Sandbox) -> None:
    one = launch(world, HOME)[0]
    eventually(lambda: len(processes.marked(mark(world, HOME, one, "show/"))) == 2)
    shows = processes.marked(mark(world, HOME, one, "show/"))
    web = get(address(world, HOME, one), "/pid")
    world.kill(one, "show")
    eventually(lambda: len(found := processes.marked(mark(world, HOME, one, "show/"))) == 2 and not found & shows)
    assert get(address(world, HOME, one), "/pid") == web


def test_a_hung_service_answers_nobody_until_it_thaws(world: Sandbox) -> None:
    one = launch(world, HOME)[0]
    where = address(world, HOME, one)
    pid = get(where, "/pid")
    world.hang(one, "web")
    assert get(where, seconds=0.5) == ""
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    world.thaw(one, "web")
    assert eventually(lambda: get(where, "/pid")) == pid


@pytest.mark.parametrize("act", ["kill", "hang", "thaw"])
def test_faults_of_what_is_not_there_are_refused(world: Sandbox, act: str) -> None:
    one = launch(world, HOME)[0]
    with pytest.raises(WorldError, match="no service 'nothing'"):
        getattr(world, act)(one, "nothing")
    with pytest.raises(WorldError, match="no instance 'i-0'"):
        getattr(world, act)("i-0", "web")


def test_stop_ends_the_processes_and_start_begins_them_anew_at_the_same_address(world: Sandbox) -> None:
    ec2, one = world.client("ec2", HOME), launch(world, HOME)[0]
    where = address(world, HOME, one)
    before = get(where, "/pid")
    (disk(world, HOME, one) / "kept").write_text("on the disk")
    changed = ec2.stop_instances(InstanceIds=[one])["StoppingInstances"][0]
    assert (changed["PreviousState"]["Name"], changed["CurrentState"]["Name"]) == ("running", "stopping")
    eventually(lambda: state(world, HOME, one) == "stopped")
    assert not processes.marked(mark(world, HOME, one)) and checks(world, HOME, one)[0] == "not-applicable"
    assert ec2.describe_instance_status(InstanceIds=[one])["InstanceStatuses"] == []
    changed = ec2.start_instances(InstanceIds=[one])["StartingInstances"][0]
    assert (changed["PreviousState"]["Name"], changed["CurrentState"]["Name"]) == ("stopped", "pending")
    eventually(lambda: state(world, HOME, one) == "running")
    assert eventually(lambda: get(where, "/pid")) != before
    assert checks(world, HOME, one) == ("ok", "ok")
    assert (disk(world, HOME, one) / "kept").read_text() == "on the disk"


def test_a_service_that_ignores_sigterm_is_killed_by_stop(world: Sandbox, tmp_path: Path) -> None:
    world.image("ami-0123456789abcdef2", {"deaf": f"exec {sys.executable} -S -c \"import signal, time, pathlib; "
                "signal.signal(15, signal.SIG_IGN); pathlib.Path('ready').touch(); time.sleep(1000)\""})
    made = world.client("ec2", HOME).run_instances(ImageId="ami-0123456789abcdef2", MinCount=1, MaxCount=1)
    one = made["Instances"][0]["InstanceId"]
    found = eventually(lambda: processes.marked(mark(world, HOME, one, "deaf/")))
    eventually(lambda: (Path(f"/proc/{min(found)}/cwd").resolve() / "ready").exists())
    eventually(lambda: state(world, HOME, one) == "running")
    world.client("ec2", HOME).stop_instances(InstanceIds=[one])
    eventually(lambda: state(world, HOME, one) == "stopped")
    assert not processes.marked(mark(world, HOME, one))


def test_terminate_ends_it_for_good(world: Sandbox) -> None:
    ec2, one = world.client("ec2", HOME), launch(world, HOME)[0]
    home = disk(world, HOME, one)
    changed = ec2.terminate_instances(InstanceIds=[one])["TerminatingInstances"][0]
    assert (changed["PreviousState"]["Name"], changed["CurrentState"]["Name"]) == ("running", "shutting-down")
    eventually(lambda: state(world, HOME, one) == "terminated")
    assert not processes.marked(mark(world, HOME, one)) and not home.exists()
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        ec2.start_instances(InstanceIds=[one])


def test_a_stopped_instance_can_be_terminated_and_not_rebooted(world: Sandbox) -> None:
    ec2, one = world.client("ec2", HOME), launch(world, HOME)[0]
    ec2.stop_instances(InstanceIds=[one])
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        ec2.start_instances(InstanceIds=[one])  # while it still stops
    eventually(lambda: state(world, HOME, one) == "stopped")
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        ec2.reboot_instances(InstanceIds=[one])
    ec2.terminate_instances(InstanceIds=[one])
    eventually(lambda: state(world, HOME, one) == "terminated")


def test_reboot_begins_the_processes_anew_without_a_change_of_state(world: Sandbox) -> None:
    one = launch(world, HOME)[0]
    before = get(address(world, HOME, one), "/pid")
    world.client("ec2", HOME).reboot_instances(InstanceIds=[one])
    assert state(world, HOME, one) == "running"
    eventually(lambda: get(address(world, HOME, one), "/pid") not in ("", before))


def test_an_instance_without_power_is_running_and_impaired_until_it_is_stopped_and_started(world: Sandbox) -> None:
    ec2, one = world.client("ec2", HOME), launch(world, HOME)[0]
    world.power_off(one)
    assert not processes.marked(mark(world, HOME, one))
    assert state(world, HOME, one) == "running" and checks(world, HOME, one) == ("impaired", "impaired")
    ec2.stop_instances(InstanceIds=[one])
    eventually(lambda: state(world, HOME, one) == "stopped")
    ec2.start_instances(InstanceIds=[one])
    eventually(lambda: get(address(world, HOME, one)) == one)
    eventually(lambda: checks(world, HOME, one) == ("ok", "ok"))


def test_reboot_counts_also_in_the_middle_of_booting(world: Sandbox) -> None:
    ec2, one = world.client("ec2", HOME), launch(world, HOME)[0]
    before = eventually(lambda: get(address(world, HOME, one), "/pid"))
    for _ in range(2):
        ec2.reboot_instances(InstanceIds=[one])
    eventually(lambda: get(address(world, HOME, one), "/pid") not in ("", before))
    assert state(world, HOME, one) == "running"


def test_a_destroyed_instance_is_terminated(world: Sandbox) -> None:
    one = launch(world, HOME)[0]
    world.destroy(one)
    assert not processes.marked(mark(world, HOME, one))
    eventually(lambda: state(world, HOME, one) == "terminated")
    with pytest.raises(WorldError, match="terminated, and only a running one can lose its power"):
        world.power_off(one)


def test_a_region_dies_with_its_instances_and_comes_back_with_them(world: Sandbox) -> None:
    here, there = launch(world, HOME)[0], launch(world, OTHER)[0]
    where, far = address(world, HOME, here), get(address(world, OTHER, there), "/pid")
    before = get(where, "/pid")
    world.stop_region(HOME)
    try:
        eventually(lambda: not processes.marked(f"{world.state.mark}/{HOME}"))
        assert get(where) == "" and get(address(world, OTHER, there), "/pid") == far
    finally:
        world.start_region(HOME)
    assert eventually(lambda: get(where, "/pid")) != before
    assert state(world, HOME, here) == "running"


def test_what_a_service_wrote_can_be_read(world: Sandbox) -> None:
    world.image("ami-0123456789abcdef3", {"talk": "echo out; echo err >&2; exec sleep 1000"})
    made = world.client("ec2", HOME).run_instances(ImageId="ami-0123456789abcdef3", MinCount=1, MaxCount=1)
    eventually(lambda: world.log(made["Instances"][0]["InstanceId"], "talk") == "out\nerr\n")


@pytest.mark.parametrize("services", [{"a/b": "true"}, {"": "true"}, {"-": "true"}, {"a b": "true"}, {"a": 1}])
def test_an_image_with_a_bad_service_is_refused(world: Sandbox, services: dict[str, Any]) -> None:
    with pytest.raises(WorldError, match="image: "):
        world.image("ami-0123456789abcdef4", services)


def test_two_sandboxes_never_share_an_address(world: Sandbox) -> None:
    mine = launch(world, HOME)[0]
    with Sandbox.start() as other:
        made = other.client("ec2", HOME).run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1)["Instances"][0]
        block = made["PrivateIpAddress"].split(".")[1]
    assert block != address(world, HOME, mine).split(".")[1]
