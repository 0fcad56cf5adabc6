"""The EC2 API over real instances, with the states of AWS, and true status checks.

"Instance lifecycle" in the EC2 user guide gives the permitted calls of each state. The errors are those of the API.
"""

from collections.abc import Sequence
from typing import Any

from sandbox.compute.actions import Answer, Handler, Parameters, handler, members, text
from sandbox.compute.instances import Record, state
from sandbox.compute.templates import decodes, fill
from sandbox.emulator_patches import Context, change
from testing.addresses import available


@change("services.ec2", "_launch_instances_internal",
        "image_id instance_type subnet_id count key_name user_data sg_ids requested_private_ip iam_profile",
        "an instance has an address of its own on this machine, and is pending until it runs")
def launch(original: Any, context: Context) -> Any:
    def launched(*arguments: Any, **named: Any) -> Any:
        created = original(*arguments, **named)
        for record in created if available() else ():
            context.hypervisor.instances.admit(record)
        return created

    return launched


@handler("ec2", "_run_instances", "RunInstances", "p", "a call launches as many instances as it asks for, from a "
                                                       "launch template too")
def run(original: Handler, context: Context) -> Handler:
    def run_instances(p: Parameters) -> Answer:
        from ministack.services import ec2

        if not available():
            return ec2._error("Unsupported", "the sandbox's instances need Linux", 400)  # type: ignore[no-any-return]
        full, error = fill(p)
        if error is not None:
            return error
        if not decodes(text(full, "UserData")):
            message = "Invalid BASE64 encoding of user data."
            return ec2._error("InvalidParameterValue", message, 400)  # type: ignore[no-any-return]
        # Capacity is no matter here, and EC2 launches as many as it can up to MaxCount.
        most = text(full, "MaxCount") or text(full, "MinCount") or "1"
        valid = int(text(full, "MinCount") or "1") <= int(most)
        return original(full | {"MinCount": [most]} if valid else full)

    return run_instances


@change("services.ec2", "_matches_filters", "inst filters",
        "a filter by instance-id, which the emulator passes over, keeps all others out")
def filtered(original: Any, context: Context) -> Any:
    def matches(inst: Record, filters: dict[str, list[str]]) -> bool:
        return inst["InstanceId"] in filters.get("instance-id", (inst["InstanceId"],)) and original(inst, filters)

    return matches


def _move(p: Parameters, action: str, ways: dict[str, str], verb: str) -> tuple[Answer, list[Record]]:
    """Move all instances that `p` names along `ways` (state -> next), or none. The answer and those that moved."""
    from ministack.services import ec2

    found: dict[str, Record | None] = {one: ec2._instances.get(one) for one in members(p, "InstanceId")}
    for one, record in found.items():
        if record is None:
            return ec2._error("InvalidInstanceID.NotFound", f"The instance ID '{one}' does not exist", 400), []
        if record["State"]["Name"] not in ways:
            message = f"The instance '{one}' is not in a state from which it can be {verb}."
            return ec2._error("IncorrectInstanceState", message, 400), []
    records = [record for record in found.values() if record is not None]
    moved = [record for record in records if record["State"]["Name"] != ways[record["State"]["Name"]]]
    items = "".join(_moved(record, ways) for record in records)
    return ec2._xml(200, f"{action}Response", f"<instancesSet>{items}</instancesSet>"), moved


def _moved(record: Record, ways: dict[str, str]) -> str:
    before = record["State"]
    record["State"] = state(ways[before["Name"]])
    entries: Sequence[tuple[str, dict[str, Any]]] = (("previous", before), ("current", record["State"]))
    states = "".join(f"<{name}State><code>{one['Code']}</code><name>{one['Name']}</name></{name}State>"
                     for name, one in entries)
    return f"<item><instanceId>{record['InstanceId']}</instanceId>{states}</item>"


@handler("ec2", "_stop_instances", "StopInstances", "p", "a stopping instance's processes end before it stops")
def stop(original: Handler, context: Context) -> Handler:
    def stop_instances(p: Parameters) -> Answer:
        ways = {"running": "stopping", "stopping": "stopping", "stopped": "stopped"}
        answer, moved = _move(p, "StopInstances", ways, "stopped")
        for record in moved:
            record["_force"] = text(p, "Force") == "true"
        context.hypervisor.run.wake()
        return answer

    return stop_instances


@handler("ec2", "_start_instances", "StartInstances", "p", "a started instance is pending until its processes run")
def start(original: Handler, context: Context) -> Handler:
    def start_instances(p: Parameters) -> Answer:
        ways = {"stopped": "pending", "pending": "pending", "running": "running"}
        answer, _ = _move(p, "StartInstances", ways, "started")
        context.hypervisor.run.wake()
        return answer

    return start_instances


@handler("ec2", "_terminate_instances", "TerminateInstances", "p",
         "a terminating instance's processes end before it is gone")
def terminate(original: Handler, context: Context) -> Handler:
    def terminate_instances(p: Parameters) -> Answer:
        from ministack.services import ec2

        ec2._sync_iam_instance_profile_associations()
        ways = dict.fromkeys(("pending", "running", "stopping", "stopped", "shutting-down"), "shutting-down")
        answer, moved = _move(p, "TerminateInstances", ways | {"terminated": "terminated"}, "terminated")
        for record in moved:
            association = ec2._find_active_iam_instance_profile_association(record["InstanceId"])
            if association:
                ec2._mark_iam_instance_profile_association_disassociated(association)
        context.hypervisor.run.wake()
        return answer

    return terminate_instances


@handler("ec2", "_reboot_instances", "RebootInstances", "p", "a reboot ends the processes and starts them again")
def reboot(original: Handler, context: Context) -> Handler:
    def reboot_instances(p: Parameters) -> Answer:
        from ministack.services import ec2

        answer, _ = _move(p, "RebootInstances", {"running": "running"}, "rebooted")
        if answer[0] == 200:
            for one in members(p, "InstanceId"):
                context.hypervisor.instances.reboot(one)
            return ec2._xml(200, "RebootInstancesResponse", "<return>true</return>")  # type: ignore[no-any-return]
        return answer

    return reboot_instances


@handler("ec2", "_describe_instance_status", "DescribeInstanceStatus", "p",
         "status checks of an instance that lost its power fail")
def status(original: Handler, context: Context) -> Handler:
    def describe(p: Parameters) -> Answer:
        from ministack.services import ec2

        wanted, everything = members(p, "InstanceId"), text(p, "IncludeAllInstances").lower() == "true"
        for one in wanted:
            if one not in ec2._instances:
                message = f"The instance ID '{one}' does not exist"
                return ec2._error("InvalidInstanceID.NotFound", message, 400)  # type: ignore[no-any-return]
        items = "".join(
            _status(record, context.hypervisor.instances.impaired(one)) for one, record in ec2._instances.items()
            if (not wanted or one in wanted) and (everything or record["State"]["Name"] == "running"))
        return ec2._xml(  # type: ignore[no-any-return]
            200, "DescribeInstanceStatusResponse", f"<instanceStatusSet>{items}</instanceStatusSet>")

    return describe


def _status(record: Record, impaired: bool) -> str:
    now = record["State"]
    word = "impaired" if impaired else {"running": "ok", "pending": "initializing"}.get(now["Name"], "not-applicable")
    reach = {"ok": "passed", "impaired": "failed"}.get(word, "insufficient-data")
    check = f"<status>{word}</status><details><item><name>reachability</name><status>{reach}</status></item></details>"
    return (f"<item><instanceId>{record['InstanceId']}</instanceId>"
            f"<availabilityZone>{record['Placement']['AvailabilityZone']}</availabilityZone>"
            f"<instanceState><code>{now['Code']}</code><name>{now['Name']}</name></instanceState>"
            f"<systemStatus>{check}</systemStatus><instanceStatus>{check}</instanceStatus></item>")


@change("services.ec2", "instance_is_managed", "instance_id", "commands reach instances that really run, and no others")
def managed(original: Any, context: Context) -> Any:
    def is_managed(instance_id: str) -> bool:
        return bool(context.hypervisor.instances.managed(instance_id))

    return is_managed
