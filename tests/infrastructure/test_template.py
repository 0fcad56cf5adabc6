"""What fleet.toml adds to the template and to the policies."""

import json
from typing import Any

import pytest

from chalicelib import registry
from chalicelib.config import durations, fleet
from chalicelib.config.fleet import FleetError
from chalicelib.engine.deployment import Schedule
from chalicelib.infrastructure import networks, parts, policies, tables, template
from chalicelib.runner.times import AROUND_SECONDS, ENDING_SECONDS, GRACE_SECONDS
from chalicelib.tasks.decide.message import RESERVE_SECONDS
from tests.tunnels.fleets import FAR, NEAR, TEXT

HEAD = 'name = "f"\ncoordination = { regions = ["eu-west-1"] }\n[[regions]]\nname = "eu-west-1"\n'
STATIC = {"Resources": {"Alerts": {"Type": "AWS::SNS::Topic"}}}


def merged(more: str) -> dict[str, Any]:
    """The resources for a fleet with `more` declared."""
    found: dict[str, Any] = template.merged(STATIC, fleet.parse(HEAD + more), "s", ["tasks_work", "tasks_runner"])[
        "Resources"]
    return found


def policy(resource: Any, **more: Any) -> dict[str, Any]:
    """A policy with one statement."""
    return {"Version": "2012-10-17", "Statement": [{"Action": ["a:B"], "Resource": resource, **more}]}


def test_lambdas_whose_chains_have_a_limit_of_their_own_are_not_stopped_by_aws() -> None:
    made = template.merged(STATIC, fleet.parse(HEAD), "s", ["schedules_work", "schedules_tick"])["Resources"]
    assert made["SchedulesWork"]["Properties"]["RecursiveLoop"] == "Allow"
    assert "RecursiveLoop" not in made["SchedulesTick"]["Properties"]


def reserved(more: str) -> dict[str, int]:
    """Function -> its reservation in the template of a fleet with `more` declared."""
    functions = [each.function for each in registry.lambdas()]
    made = template.merged(STATIC, fleet.parse(more), "s", functions)["Resources"]
    found = {function: made[parts.logical(function)]["Properties"].get("ReservedConcurrentExecutions")
             for function in functions}
    return {function: number for function, number in found.items() if number}


def test_what_a_rule_starts_each_minute_has_executions_of_its_own() -> None:
    for each in registry.lambdas():
        if not (isinstance(each.trigger, Schedule) and each.trigger.seconds == 60):
            assert each.reserved == 0, each.name
        elif each.function == "tunnels_heal":
            # Two hand over to one another at all times. A doubled one and one by hand come on top.
            assert each.reserved == 4
        else:
            # Each may last as long as its time-out. A rule fires anywhere within its minute, and one comes by hand.
            assert each.reserved == 1 + -(-each.timeout_seconds // 60) + 1, each.name


@pytest.mark.slow
def test_only_what_a_rule_of_the_fleet_starts_has_a_reservation() -> None:
    assert reserved(HEAD) == {"schedules_tick": 3}
    assert reserved(TEXT) == {"schedules_tick": 3, "tunnels_heal": 4, "tunnels_rotate_keys": 3}
    assert reserved("reserved_concurrency = false\n" + TEXT) == {}


def test_a_queue_brings_its_dead_letters_mapping_and_alarm() -> None:
    found = merged('[[queues]]\nname = "mail"\nbatch = 5\nconcurrency = 3\ntimeout = "2m"\n')
    assert {"QueueMail", "QueueMailDead", "QueueMailSource", "QueueMailDeadAlarm", "QueueMailUnserved"} <= found.keys()
    assert found["QueueMailSource"]["Properties"]["BatchSize"] == 5
    assert found["QueueMailSource"]["Properties"]["ScalingConfig"] == {"MaximumConcurrency": 3}
    assert found["TasksWork"]["Properties"]["Timeout"] == 240
    assert found["QueueMail"]["Properties"]["VisibilityTimeout"] == 300
    assert "FifoQueue" not in found["QueueMail"]["Properties"]


def test_the_longest_queue_sets_the_workers_time_out_and_all_queues_hide_longer() -> None:
    found = merged('[[queues]]\nname = "a"\ntimeout = "10s"\n[[queues]]\nname = "b"\ntimeout = "13m"\n')
    assert found["TasksWork"]["Properties"]["Timeout"] == 900
    assert found["QueueA"]["Properties"]["VisibilityTimeout"] > 900


@pytest.mark.parametrize("timeout", ["1s", "2m", "13m"])
def test_a_runner_of_tasks_ends_before_its_worker_and_after_its_longest_task(timeout: str) -> None:
    found = merged(f'[runners]\nmemory_mb = 2048\n[[queues]]\nname = "a"\ntimeout = "{timeout}"\n')
    worker, runner = found["TasksWork"]["Properties"], found["TasksRunner"]["Properties"]
    assert (worker["MemorySize"], runner["MemorySize"]) == (256, 2048)
    # The worker hands over so much time at most, and the runner ends its processes after it.
    handed_over = worker["Timeout"] - RESERVE_SECONDS - AROUND_SECONDS
    assert durations.seconds(timeout) <= handed_over
    assert handed_over + GRACE_SECONDS + ENDING_SECONDS < runner["Timeout"] < worker["Timeout"]


def test_tasks_that_share_the_worker_have_its_memory_and_a_minute_more() -> None:
    found = merged('[tasks]\nisolation = "shared"\n[[queues]]\nname = "a"\ntimeout = "14m"\n')
    assert found["TasksWork"]["Properties"]["Timeout"] == 900
    assert "MemorySize" not in found["TasksWork"]["Properties"]


def test_a_fifo_queue_is_named_as_sqs_wants_it_with_its_dead_letters() -> None:
    found = merged('[[queues]]\nname = "orders"\nfifo = true\n')
    for id, name in (("QueueOrders", "orders.fifo"), ("QueueOrdersDead", "orders-dead.fifo")):
        assert found[id]["Properties"]["FifoQueue"] is True
        assert found[id]["Properties"]["QueueName"]["Fn::Sub"].endswith(f"-{name}")


def test_a_queue_may_serve_as_anothers_dead_letters() -> None:
    found = merged('[[queues]]\nname = "a"\ndead_letter = "b"\n[[queues]]\nname = "b"\n')
    assert found["QueueA"]["Properties"]["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["QueueB", "Arn"]}
    assert "QueueADead" not in found and "QueueBDead" in found


def test_two_queues_may_share_their_dead_letters() -> None:
    found = merged("".join(f'[[queues]]\nname = "{name}"\ndead_letter = "lost-dead"\n' for name in "ab"))
    assert {id for id in found if id.startswith("QueueLostDead")} == {"QueueLostDead", "QueueLostDeadAlarm"}


def test_the_mail_address_is_subscribed_only_when_there_is_one() -> None:
    assert "AlertsByMail" not in merged("")
    text = 'alarm_email = "a@b.example"\n' + HEAD
    found = template.merged(STATIC, fleet.parse(text), "s", [])["Resources"]
    assert found["AlertsByMail"]["Properties"]["Endpoint"] == "a@b.example"


def test_the_coordination_table_of_one_region_is_a_plain_one() -> None:
    table = tables.coordination(fleet.parse(HEAD), "s")["Resources"]["Coordination"]
    assert table["Type"] == "AWS::DynamoDB::Table" and "Replicas" not in table["Properties"]


def test_placeholders_become_arns_and_statements_about_nothing_vanish() -> None:
    declared = fleet.parse(HEAD + '[[queues]]\nname = "a"\nfifo = true\n')
    found = policies.resolved(policy("{task-queues}"), declared)["Statement"][0]["Resource"]
    assert [arn["Fn::Sub"].partition("${AWS::AccountId}:")[2] for arn in found] == ["${AWS::StackName}-a.fifo"]
    assert policies.resolved(policy("{task-queues}"), fleet.parse(HEAD))["Statement"] == []
    for nothing in ("{ecs-definition}", "{ecs-tasks}", "{ecs-roles}", "{ssm-document}", "{ssm-any}"):
        assert policies.resolved(policy(nothing), declared)["Statement"] == []


def test_an_unknown_placeholder_is_an_error() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        policies.resolved(policy("{nonsense}"), fleet.parse(HEAD))


def test_ecs_and_ssm_are_allowed_only_where_they_are_declared() -> None:
    ecs = ('ecs = {subnets = ["subnet-00000001"], security_groups = ["sg-00000001"]}\n'
           '[schedules.ecs]\ncluster = "jobs"\ntask_definition = "cron:7"\ncontainer = "c"\n'
           'roles = ["task", "path/execution"]\n')
    found = policies.resolved(policy("{ecs-definition}"), fleet.parse(HEAD + ecs))
    assert found["Statement"][0]["Resource"][0]["Fn::Sub"].endswith(":task-definition/cron:*")
    ssm = '[schedules.ssm]\ntag = "role"\nvalue = "cron"\n'
    limited = policy("{ssm-instances}", Condition={"StringEquals": {"ssm:resourceTag/{ssm-tag}": "{ssm-value}"}})
    text = json.dumps(policies.resolved(limited, fleet.parse(HEAD + ssm)))
    assert '"ssm:resourceTag/role": "cron"' in text and "{" + "ssm" not in text


@pytest.mark.parametrize(("name", "id"), [("invoices-dead", "InvoicesDead"), ("schedules_tick", "SchedulesTick")])
def test_logical_ids(name: str, id: str) -> None:
    assert parts.logical(name) == id


def test_two_names_that_the_stack_could_not_tell_apart_are_refused() -> None:
    both = '[[queues]]\nname = "mail-1"\n[[queues]]\nname = "{}"\n'
    with pytest.raises(FleetError, match="'mail-1' and 'mail1' would both be QueueMail1"):
        merged(both.format("mail1"))
    assert {"QueueMail1", "QueueMail11"} <= merged(both.format("mail11")).keys()


def test_a_region_whose_lambdas_run_beside_its_tunnel_hosts_is_asked_for_private_subnets() -> None:
    near, far = networks.warnings(fleet.parse(TEXT))
    assert f"{NEAR}: Lambdas run in the subnets" in near and FAR in far and "[regions.network]" in far
    network = 'network = {subnets = ["subnet-0123456789abcdef0"], security_groups = ["sg-0123456789abcdef0"]}'
    private = TEXT.replace(f'[[regions]]\nname = "{NEAR}"', f'[[regions]]\nname = "{NEAR}"\n{network}')
    assert list(networks.warnings(fleet.parse(private))) == [far]
    assert list(networks.warnings(fleet.parse(HEAD))) == []
