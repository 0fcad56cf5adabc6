"""`lamp run`, `status` and `why` from another terminal, against the packaged zip on the embedded AWS."""

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from commands import cli, roots
from commands.deploy.packaging import Package
from sandbox.world import Sandbox

pytestmark = pytest.mark.world


@pytest.fixture(autouse=True)
def deployed(fleet: Sandbox, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The world of the whole run, as another terminal finds it."""
    found = Sandbox(msgspec.structs.replace(fleet.state, stage=package.stage))
    (tmp_path / "sandbox.json").write_bytes(msgspec.json.encode(found.state))
    monkeypatch.setattr(roots, "published_sandbox", lambda: tmp_path / "sandbox.json")
    monkeypatch.delenv("LAMP_STAGE", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    return found


def lamp(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = cli.main(list(words))
    shown = capsys.readouterr()
    return status, shown.out + shown.err


def test_run_plans_first_and_then_acts(capsys: pytest.CaptureFixture[str]) -> None:
    job = '{"job": "reports.nightly", "reason": "moving house"}'
    status, out = lamp(capsys, "run", "schedules.pause", job)
    assert status == 0 and "planned" in out and "moving house" in out and "Add --apply to do it" in out
    _, before = lamp(capsys, "status", "--job", "reports.nightly", "--json")
    status, out = lamp(capsys, "run", "schedules.pause", job, "--apply")
    assert status == 0 and "reports.nightly: paused" in out and out.count("1 x pause") == 1
    _, after = lamp(capsys, "status", "--job", "reports.nightly", "--json")
    paused = [json.loads(text)["schedules"]["jobs"][0]["paused"] for text in (before, after)]
    assert paused == [False, True]
    status, out = lamp(capsys, "run", "schedules.resume", job, "--apply")
    assert status == 0 and "done" in out


def test_run_in_another_region(capsys: pytest.CaptureFixture[str]) -> None:
    status, out = lamp(capsys, "run", "tasks.status", "--region", "us-east-1", "--json")
    answer = json.loads(out)
    assert (status, answer["region"], answer["outcome"]["status"]) == (0, "us-east-1", "planned")
    assert any(line.startswith("{") for line in answer["log"])


def test_what_an_operation_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    status, out = lamp(capsys, "run", "schedules.pause", '{"job": "no such"}', "--apply")
    assert status == 1 and "refused" in out and "no job is called 'no such'" in out
    status, out = lamp(capsys, "run", "schedules.pase")
    assert status == 2 and "did you mean schedules.pause?" in out and "tasks.redrive" in out


def test_why(capsys: pytest.CaptureFixture[str]) -> None:
    status, out = lamp(capsys, "explain", "reports.nightly", "2026-03-29T12:00Z")
    assert status == 0 and "not due: '0 3 * * *' does not match 2026-03-29 14:00 in Europe/Stockholm: the hour" in out
    status, out = lamp(capsys, "explain", "night", "2026-03-29T12:00Z")
    assert status == 1 and "refused" in out and "did you mean" in out


def test_status_of_all_regions(package: Package, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = lamp(capsys, "status")
    assert status == 0 and "lamplighter-test on the sandbox" in out
    assert status == 0 and "reports.lamps" in out and "schedule-runs" in out
    assert all(region.name in out for region in package.fleet.regions)


def test_status_while_home_is_gone(deployed: Sandbox, package: Package, capsys: pytest.CaptureFixture[str]) -> None:
    deployed.stop_region(package.fleet.home)
    try:
        status, out = lamp(capsys, "status", "--json")
    finally:
        deployed.start_region(package.fleet.home)
    told, end = json.JSONDecoder().raw_decode(out)
    assert (status, told["schedules"]["region"]) == (0, "us-east-1") and "asked the next region" in out[end:]
    assert "error" in told["queues"]["eu-west-1"] and isinstance(told["queues"]["us-east-1"], list)


def test_another_stage_is_not_looked_for_in_the_demo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    status, out = lamp(capsys, "explain", "reports.nightly", f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}", "--stage", "prod")
    assert status == 2 and "AWS, eu-west-1, lamplighter-prod-schedules_why: no AWS credentials found" in out
