"""The files of .chalice/: what the capabilities declare, committed, and told when they are not."""

import json
import shutil
from pathlib import Path

import pytest

from chalicelib import registry
from chalicelib.config import fleet
from chalicelib.engine.deployment import Lambda, Schedule
from chalicelib.infrastructure import files, parts, policies, template
from commands.develop import check
from commands.processes import Children

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of .chalice/."""
    return Path(shutil.copytree(ROOT / ".chalice", tmp_path / ".chalice"))


def test_the_committed_files_are_those_declared() -> None:
    assert files.stale(ROOT / ".chalice") == []


def test_a_permission_added_by_hand_is_stale_until_renewed(folder: Path) -> None:
    path = folder / "policies" / "policy-schedules_tick.json"
    policy = json.loads(path.read_text())
    policy["Statement"][1]["Action"].append("dynamodb:DeleteItem")
    path.write_text(json.dumps(policy, indent=2) + "\n")
    [finding] = files.stale(folder)
    assert finding.startswith(".chalice/policies/policy-schedules_tick.json:1: ")
    assert finding.endswith("./lamp check --renew")
    files.renew(folder)
    assert files.stale(folder) == []


@pytest.mark.slow
def test_a_missing_policy_and_one_of_no_lambda_are_told_and_renewed(folder: Path) -> None:
    missing, superfluous = "policies/policy-tasks_peek.json", "policies/policy-tasks_gone.json"
    (folder / missing).rename(folder / superfluous)
    assert [finding.partition(":")[0] for finding in files.stale(folder)] == [
        f".chalice/{missing}", f".chalice/{superfluous}"]
    files.renew(folder)
    assert files.stale(folder) == [] and not (folder / superfluous).exists()


def test_a_changed_time_out_is_stale(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"lambda_timeout": 55', '"lambda_timeout": 56', 1))
    assert [finding.partition(":")[0] for finding in files.stale(folder)] == [".chalice/config.json"]


def test_the_check_fails_where_files_are_stale(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "config.json").unlink()
    monkeypatch.setattr("commands.roots.PRODUCT", folder.parent)
    with Children() as children:
        ok, findings = check.OF_PRODUCT["generated"](children)
    assert not ok and findings[0].startswith(".chalice/config.json:1: ")


@pytest.mark.parametrize("declared", list(registry.lambdas()), ids=lambda declared: declared.function)
def test_a_policy_names_each_statement_once(declared: Lambda) -> None:
    sids = [statement["Sid"] for statement in policies.policy(declared)["Statement"]]
    assert len(set(sids)) == len(sids) and sids[0] == "WriteLog"
    assert ("Network" in sids) is declared.private_network


def test_a_hand_edited_template_is_stale(folder: Path) -> None:
    path = folder / "resources.json"
    path.write_text(path.read_text().replace('"MaximumRetryAttempts": 2', '"MaximumRetryAttempts": 1', 1))
    assert [finding.partition(":")[0] for finding in files.stale(folder)] == [".chalice/resources.json"]


def test_a_schedule_gives_its_rule_and_alarms_where_the_fleet_has_its_section() -> None:
    scheduled = {each.function: each.trigger for each in registry.lambdas() if isinstance(each.trigger, Schedule)}
    sections = {trigger.section.partition(".")[0] for trigger in scheduled.values()}
    assert sections <= {"", *fleet.DeclaredFleet.__struct_fields__}
    example = fleet.load(ROOT / "fleet.toml")
    made = template.merged(template.static(list(registry.lambdas())), example, "s", [])["Resources"]
    for function, trigger in scheduled.items():
        ids = {f"{parts.logical(function)}{part}" for part in ("Rule", "Failing", "Silent")}
        assert ids & made.keys() == (set() if trigger.section else ids)
        assert all("Metadata" not in made[id] for id in ids & made.keys())
        if not trigger.section:
            assert made[f"{parts.logical(function)}Rule"]["Properties"]["ScheduleExpression"] == trigger.expression
