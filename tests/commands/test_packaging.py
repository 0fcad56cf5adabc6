"""The packaged template and zip: what AWS checks late, or never, is checked here."""

import hashlib
import json
import os
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.config.fleet import FleetError
from commands.deploy import dependencies, packaging
from commands.develop import check
from commands.errors import UsageError
from commands.processes import Children
from tests.project import copy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts(package: packaging.Package) -> dict[str, Any]:
    """The resources of its template."""
    found: dict[str, Any] = package.template["Resources"]
    return found


def repacked(folder: Path, content: str) -> tuple[Path, str]:
    """What `build` puts in `.build` for a stage, as Chalice's zip of `content` becomes it."""
    out = folder / content
    out.mkdir()
    with zipfile.ZipFile(out / "deployment.zip", "w") as made:
        made.writestr("fleet.toml", content)
    return packaging._repack(out, folder, "x-demo-machine")


def test_another_package_of_the_same_stage_takes_nothing_from_the_first(tmp_path: Path) -> None:
    """As two demos or two suites make them, each with addresses of its own."""
    for content, (path, digest) in [(content, repacked(tmp_path, content)) for content in ("one", "two")]:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        with zipfile.ZipFile(path) as archive:
            assert archive.read("fleet.toml") == content.encode()


def test_a_package_of_yesterday_goes_if_it_is_of_the_same_stage(tmp_path: Path) -> None:
    old, _ = repacked(tmp_path, "old")
    other = tmp_path / "x-prod-machine-0.zip"
    other.touch()
    for one in (old, other):
        os.utime(one, (time.time() - 2 * 86_400,) * 2)
    new, _ = repacked(tmp_path, "new")
    assert new.exists() and other.exists() and not old.exists()


def of_type(parts: dict[str, Any], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The properties of every resource of this type."""
    return ((id, part["Properties"]) for id, part in parts.items() if part["Type"] == kind)


@pytest.mark.slow
def test_it_passes_cfn_lint_in_every_region(package: packaging.Package) -> None:
    templates = {"template.json": package.template, "coordination.json": package.coordination}
    with Children() as children:
        assert check._linted(templates, [region.name for region in package.fleet.regions], children) == (True, [])


def test_every_queue_that_a_lambda_serves_reports_partial_failures(parts: dict[str, Any]) -> None:
    mappings = dict(of_type(parts, "AWS::Lambda::EventSourceMapping"))
    assert len(mappings) >= 3
    for mapping in mappings.values():
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_every_served_queue_hides_messages_longer_than_its_lambda_may_run(parts: dict[str, Any]) -> None:
    for _, mapping in of_type(parts, "AWS::Lambda::EventSourceMapping"):
        queue = parts[mapping["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]
        function = parts[mapping["FunctionName"]["Ref"]]["Properties"]
        assert queue["VisibilityTimeout"] > function["Timeout"]


def test_every_served_queue_has_dead_letters_that_raise_an_alarm(parts: dict[str, Any]) -> None:
    watched = {alarm["Dimensions"][0]["Value"]["Fn::GetAtt"][0] for _, alarm in of_type(parts, "AWS::CloudWatch::Alarm")
               if alarm.get("MetricName") == "ApproximateNumberOfMessagesVisible" and alarm["Threshold"] == 0}
    for _, mapping in of_type(parts, "AWS::Lambda::EventSourceMapping"):
        queue = parts[mapping["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]
        assert queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0] in watched


def test_only_alarms_of_this_account_may_use_the_topic_without_a_policy_of_their_own(parts: dict[str, Any]) -> None:
    # Without a policy a topic gets SNS's default one, which lets everybody in the account publish.
    (policy,) = parts["AlertsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert policy["Principal"] == {"Service": "cloudwatch.amazonaws.com"} and policy["Action"] == "sns:Publish"
    assert policy["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert parts["AlertsPolicy"]["Properties"]["Topics"] == [policy["Resource"]] == [{"Ref": "Alerts"}]


def test_every_alarm_tells_the_topic(parts: dict[str, Any]) -> None:
    for _, alarm in of_type(parts, "AWS::CloudWatch::Alarm"):
        assert alarm["AlarmActions"] == [{"Ref": "Alerts"}]


def test_rules_send_their_own_event_and_may_invoke_only_what_they_should(parts: dict[str, Any]) -> None:
    rules = dict(of_type(parts, "AWS::Events::Rule"))
    assert {rule["ScheduleExpression"] for rule in rules.values()} >= {"cron(* * * * ? *)"}
    permitted = {(grant["SourceArn"]["Fn::GetAtt"][0], grant["FunctionName"]["Ref"])
                 for _, grant in of_type(parts, "AWS::Lambda::Permission")}
    for id, rule in rules.items():
        for target in rule["Targets"]:
            assert not {"Input", "InputPath", "InputTransformer"} & target.keys()
            assert (id, target["Arn"]["Fn::GetAtt"][0]) in permitted
    assert len(permitted) == len(rules)


def test_a_permission_names_the_service_and_its_one_source(parts: dict[str, Any]) -> None:
    for _, grant in of_type(parts, "AWS::Lambda::Permission"):
        assert grant["Principal"] == "events.amazonaws.com"
        assert parts[grant["SourceArn"]["Fn::GetAtt"][0]]["Type"] == "AWS::Events::Rule"


def statements(parts: dict[str, Any], function: str) -> list[dict[str, Any]]:
    """What the role of `function` may do."""
    role = parts[parts[function]["Properties"]["Role"]["Fn::GetAtt"][0]]
    found: list[dict[str, Any]] = role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    return found


def test_a_lambda_may_receive_from_exactly_the_queues_that_it_serves(parts: dict[str, Any]) -> None:
    served: dict[str, set[str]] = {}
    for _, mapping in of_type(parts, "AWS::Lambda::EventSourceMapping"):
        name = parts[mapping["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]["QueueName"]["Fn::Sub"]
        served.setdefault(mapping["FunctionName"]["Ref"], set()).add(name)
    needed = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
    for function, queues in served.items():
        allowed = [arn["Fn::Sub"] for statement in statements(parts, function) if needed <= set(statement["Action"])
                   for arn in as_list(statement["Resource"])]
        assert {arn.partition("${AWS::AccountId}:")[2] for arn in allowed} == queues


def as_list(value: Any) -> list[Any]:
    """One or many as many."""
    return value if isinstance(value, list) else [value]


def test_every_lambda_has_its_own_role_name_log_and_environment(package: packaging.Package) -> None:
    parts = package.template["Resources"]
    functions = dict(of_type(parts, "AWS::Serverless::Function"))
    assert len({one["Role"]["Fn::GetAtt"][0] for one in functions.values()}) == len(functions) >= 13
    names = set(zipfile.ZipFile(package.zip).namelist())
    for id, function in functions.items():
        assert function["FunctionName"]["Fn::Sub"].startswith("${AWS::StackName}-")
        variables = function["Environment"]["Variables"]
        assert variables["LAMP_QUEUE_PREFIX"]["Fn::Sub"].endswith("/${AWS::StackName}-")
        assert {"LAMP_STAGE", "LAMP_TABLE", "LAMP_COORDINATION", "LAMP_ALERTS"} <= variables.keys()
        zones = variables["PYTHONTZPATH"].removeprefix("/var/task/")
        assert f"{zones}/Europe/Stockholm" in names, "zoneinfo finds no pinned zone of the package"
        logs = [one for one in statements(parts, id) if "logs:PutLogEvents" in one["Action"]]
        assert logs[0]["Resource"]["Fn::Sub"].endswith(
            f":log-group:/aws/lambda/{function['FunctionName']['Fn::Sub']}:*")
        assert any(group["LogGroupName"] == {"Fn::Sub": f"/aws/lambda/${{{id}}}"} and group["RetentionInDays"]
                   for _, group in of_type(parts, "AWS::Logs::LogGroup"))


def test_no_statement_is_wider_than_it_must_be(parts: dict[str, Any]) -> None:
    # These have no resource of their own: service authorization reference of CloudWatch.
    without = {"cloudwatch:GetMetricData"}
    for function, _ in of_type(parts, "AWS::Serverless::Function"):
        for statement in statements(parts, function):
            if statement["Effect"] == "Deny":
                # It keeps users' code from the control plane, whatever the team allows. It cannot be too wide.
                assert statement["Sid"] == "ControlPlane" and function in ("SchedulesRunner", "TasksRunner")
                continue
            assert statement["Effect"] == "Allow" and not any("*" in one for one in as_list(statement["Action"]))
            if "*" in as_list(statement["Resource"]):
                assert set(as_list(statement["Action"])) <= without


def test_references_lead_somewhere(parts: dict[str, Any]) -> None:
    text = json.dumps(parts)
    named = set(re.findall(r'"Ref": "(\w+)"', text)) | set(re.findall(r'"Fn::GetAtt": \["(\w+)"', text))
    assert named <= parts.keys()


def test_the_tables_keep_what_people_need(package: packaging.Package, parts: dict[str, Any]) -> None:
    table = parts["RegionalTable"]
    for one in (table, package.coordination["Resources"]["Coordination"]):
        assert one["DeletionPolicy"] == one["UpdateReplacePolicy"] == "Retain", "also if its first stack rolls back"
    assert table["Properties"]["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    common = package.coordination["Resources"]["Coordination"]
    assert common["Properties"]["MultiRegionConsistency"] == "STRONG"
    assert "TimeToLiveSpecification" not in common["Properties"], "strongly consistent global tables have no TTL"
    assert [one["Region"] for one in common["Properties"]["Replicas"]] == sorted(package.fleet.coordination.regions)


def test_the_zip_holds_what_runs_and_nothing_else(package: packaging.Package) -> None:
    with zipfile.ZipFile(package.zip) as archive:
        names = set(archive.namelist())
    assert {"app.py", "fleet.toml", "timetable.bin", "jobs.bin", "chalice/app.py",
            "chalicelib/config/fleet.py"} <= names
    assert any(name.startswith("msgspec/_core.cpython-3") and name.endswith("-x86_64-linux-gnu.so") for name in names)
    assert any(name.startswith("cron/") for name in names) and any(name.startswith("tasks/") for name in names)
    assert not [name for name in names if re.match(r"(sandbox|commands|tests|boto3|botocore|bin|pip)/", name)]
    assert package.zip.stat().st_size < 10_000_000


def test_the_zip_is_compiled_and_runs_from_its_compiled_files(package: packaging.Package) -> None:
    with zipfile.ZipFile(package.zip) as archive:
        sources = [name for name in archive.namelist() if name.endswith(".py") and "tzdata/" not in name]
        names = set(archive.namelist())
    from commands.deploy.archive import _compiled_name

    assert sources and {_compiled_name(name) for name in sources} <= names


@pytest.mark.slow
def test_equal_sources_give_equal_bytes_wherever_they_lie(
    project: Path, package: packaging.Package, tmp_path: Path
) -> None:
    other = copy(tmp_path, project, compiled=False)
    again = packaging.build("prod", root=other, product=other)
    assert again.digest == package.digest
    assert again.template == package.template


@pytest.mark.slow
def test_another_source_gives_other_bytes(project: Path, package: packaging.Package, tmp_path: Path) -> None:
    changed = copy(tmp_path, project)
    (changed / "tasks" / "more.py").write_text("X = 1\n")
    assert packaging.build("prod", root=changed, product=changed).digest != package.digest


@pytest.mark.parametrize("stage", ["", "Prod", "1prod", "a" * 17, "pr od", "../x"])
def test_a_wrong_stage_is_refused(stage: str) -> None:
    with pytest.raises(UsageError, match="--stage"):
        packaging.build(stage)


def test_a_wrong_fleet_file_is_refused(project: Path, tmp_path: Path) -> None:
    changed = copy(tmp_path, project)
    with (changed / "fleet.toml").open("a") as file:
        file.write('\nnonsense = "x"\n')
    with pytest.raises(FleetError, match=r"fleet\.toml:\d+: .*nonsense"):
        packaging.build("prod", root=changed, product=changed)


DATABASE = """
[databases]
flavour = "mariadb"
primary = "eu-west-1"
secret = "s"
ca = "certificates/ours.pem"
servers = [{region = "eu-west-1", host = "db"}]
"""


@pytest.mark.slow
def test_the_certificates_that_fleet_toml_names_go_along(tmp_path: Path) -> None:
    mine = copy(tmp_path)
    (mine / "fleet.toml").write_text((mine / "fleet.toml").read_text() + DATABASE)
    with pytest.raises(FleetError, match=r"ours\.pem' is no file of this project"):
        packaging.build("prod", root=mine, product=mine)
    (mine / "certificates").mkdir()
    (mine / "certificates" / "ours.pem").write_text("PEM")
    with zipfile.ZipFile(packaging.build("prod", root=mine, product=mine).zip) as archive:
        assert archive.read("certificates/ours.pem") == b"PEM"


def test_a_wrong_schedule_is_refused_at_its_place(project: Path, tmp_path: Path) -> None:
    changed = copy(tmp_path, project)
    (changed / "cron" / "crontabs" / "wrong").write_text("# a comment\n61 * * * * true\n")
    with pytest.raises(UsageError, match=r"crontabs/wrong:2:1: error: bad minute"):
        packaging.build("prod", root=changed, product=changed)


@pytest.mark.slow
def test_an_app_that_cannot_be_imported_is_told_in_one_line(project: Path, tmp_path: Path) -> None:
    changed = copy(tmp_path, project)
    (changed / "app.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(UsageError, match=r"chalice cannot package the app .*nothing_of_that_name"):
        packaging.build("prod", root=changed, product=changed)


@pytest.mark.slow
def test_a_lambda_missing_in_the_config_is_told(project: Path, tmp_path: Path) -> None:
    changed = copy(tmp_path, project)
    path = changed / ".chalice" / "config.json"
    config = json.loads(path.read_text())
    del config["stages"]["any"]["lambda_functions"]["tasks_peek"]
    path.write_text(json.dumps(config))
    with pytest.raises(UsageError, match="TasksPeek"):
        packaging.build("prod", root=changed, product=changed)


@pytest.mark.slow
def test_packages_that_cannot_be_fetched_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    path = tmp_path / "requirements.txt"
    path.write_text("no-such-package-of-ours==1.0\n")
    with pytest.raises(UsageError, match="no-such-package-of-ours"):
        dependencies.site(path, dependencies.LAMBDA, tmp_path / "wheels")
    assert list((tmp_path / "wheels").iterdir()) == []
