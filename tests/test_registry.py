"""The table of Lambdas: each binds, and imports no capability but its own."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from chalicelib import registry
from chalicelib.engine.deployment import ALERTS, FleetQueues, Lambda, OwnQueue, Schedule
from chalicelib.engine.operation import Operation

ROOT = Path(__file__).resolve().parent.parent
ALL = {declared.function: declared for declared in registry.lambdas()}
# One Lambda for each module that some Lambda starts from: the others import the same.
STARTS = {(each.name.partition(".")[0], each.handler): each for each in ALL.values()}

STARTED = """\
import json, sys
import app
assert callable(getattr(app, sys.argv[1]))
print(json.dumps(sorted(sys.modules)))
"""


def started(function: str) -> list[str]:
    """The modules that a Lambda has loaded when its first event comes."""
    environment = {**os.environ, "_HANDLER": f"app.{function}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-P", "-c", STARTED, function], env=environment, capture_output=True,
                          text=True, check=True)
    loaded: list[str] = json.loads(done.stdout)
    return loaded


@pytest.mark.slow
@pytest.mark.parametrize("declared", STARTS.values(), ids=lambda declared: declared.function)
def test_lambda_started_imports_no_other_capability(declared: Lambda) -> None:
    own = declared.name.partition(".")[0]
    inside = [name.removeprefix("chalicelib.") for name in started(declared.function) if name.startswith("chalicelib.")]
    others = {name for name in inside if name.partition(".")[0] in registry.CAPABILITIES and
              "." in name and name.partition(".")[0] != own and name.split(".")[1] != "published"}
    assert own in inside and others == set()


@pytest.mark.slow
def test_lambda_started_collects_no_garbage_until_its_first_event_and_none_of_the_start_after_it() -> None:
    code = ("import gc\ncollected = []\ngc.collect()\n"
            "gc.callbacks.append(lambda phase, info: collected.append(phase))\nimport app\n"
            "assert gc.isenabled() and not collected and gc.get_freeze_count() > 20_000")
    subprocess.run([sys.executable, "-P", "-c", code], check=True,
                   env={**os.environ, "_HANDLER": "app.schedules_tick", "PYTHONPATH": str(ROOT)})


@pytest.mark.slow
def test_lambda_writes_each_line_of_its_log_once() -> None:
    code = "import app\nfrom chalicelib.engine.metrics import logger\nlogger.info('one job')"
    done = subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True,
                          env={**os.environ, "_HANDLER": "app.schedules_tick", "PYTHONPATH": str(ROOT)})
    [line] = (done.stdout + done.stderr).splitlines()
    assert json.loads(line)["message"] == "one job"


@pytest.mark.slow
def test_lambda_started_imports_neither_boto3_nor_the_mysql_client() -> None:
    # boto3 would cost a third more than botocore.
    assert not {"boto3", "s3transfer", "pymysql"} & set(started("schedules_tick"))


@pytest.mark.slow
def test_lambda_started_imports_the_aws_ports_only_if_it_may_call_one() -> None:
    # Each service is a module with protocols, whose classes cost more than the code.
    assert "chalicelib.aws.ports" not in started("schedules_tick")
    assert "chalicelib.aws.ports" in started("schedules_work")
    assert {name for name, declared in ALL.items() if not registry.uses_ports(declared)} > {
        "schedules_tick", "schedules_reconcile", "schedules_runner", "schedules_status"}


@pytest.mark.slow
def test_runner_started_imports_neither_the_aws_sdk_nor_the_engine_of_the_operations() -> None:
    assert not {"botocore", "chalicelib.context", "chalicelib.engine.operation"} & set(started("schedules_runner"))


@pytest.mark.parametrize("function", ALL)
def test_lambda_declared_has_code(function: str) -> None:
    assert callable(registry.handler(function))


def operations(declared: Lambda) -> list[Operation[Any]]:
    """The operation of a Lambda that is one."""
    module, _, name = declared.handler.partition(":")
    there = getattr(import_module(f"chalicelib.{declared.name.partition('.')[0]}.{module}"), name)
    several = there if isinstance(there, tuple | list) else [there]
    return [one for one in several if isinstance(one, Operation) and one.name == declared.name]


def test_operations_that_raise_alerts_are_those_whose_lambda_may_remember_them() -> None:
    # One that looks for what it told before, and may not, fails once a rule starts it.
    plain = [declared for declared in ALL.values() if isinstance(declared.trigger, Schedule | None)]
    known = {declared.name: operations(declared) for declared in plain}
    assert sum(map(len, known.values())) > 20
    assert {name: one.raises_alerts for name, several in known.items() for one in several} == {
        declared.name: ALERTS in declared.permissions for declared in plain if known[declared.name]}


def test_lambdas_declared_have_names_of_their_own_capability() -> None:
    names = [declared.name for declared in registry.lambdas()]
    assert len(set(names)) == len(names)
    for capability in registry.CAPABILITIES:
        assert {declared.name.partition(".")[0] for declared in registry.lambdas([capability])} == {capability}


@pytest.mark.slow
def test_handlers_where_packaged_are_all_and_import_no_capability() -> None:
    code = "import sys; from chalicelib import registry; print(len(registry.handlers()), *sys.modules)"
    environment = {**os.environ, "_HANDLER": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True,
                          check=True)
    number, *modules = done.stdout.split()
    assert int(number) == len(ALL)
    assert [name for name in modules if name.endswith(".operations")] == []


def test_handler_of_an_unknown_lambda_names_it_and_the_remedy() -> None:
    with pytest.raises(LookupError, match=r"'schedules_tock'. Add it to the module lambdas"):
        registry.handler("schedules_tock")


def _sends_to(declared: Lambda) -> set[str]:
    """The functions that the Lambda starts, by a message or at once."""
    served = {each.trigger.name: each.function for each in ALL.values() if isinstance(each.trigger, OwnQueue)}
    of_fleet = {each.function for each in ALL.values() if isinstance(each.trigger, FleetQueues)}
    found: set[str] = set()
    for permission in declared.permissions:
        resource = json.dumps(permission.resource)
        if "sqs:SendMessage" in permission.actions.split():
            found |= {function for name, function in served.items() if f"-{name}\"" in resource}
            found |= of_fleet if "task-queues}" in resource else set()
        if "lambda:InvokeFunction" in permission.actions.split():
            found |= {name for name in ALL if f"-{name}\"" in resource}
            found |= {"tasks_runner"} if "{task-runner}" in resource else set()
    return found


def test_each_lambda_in_a_loop_says_what_ends_it_since_aws_would_stop_it() -> None:
    after = {name: _sends_to(each) for name, each in ALL.items()}
    reached = dict(after)
    for _ in ALL:
        reached = {name: found.union(*(after[one] for one in found)) for name, found in reached.items()}
    loops = {name for name, found in reached.items() if name in found}
    assert {"schedules_work", "schedules_reconcile"} <= loops
    started_by_them = loops.union(*(after[name] for name in loops))
    told = {name for name, each in ALL.items() if each.loops_until}
    assert told == started_by_them
