"""`lamp run`, `status` and `why` from another terminal, against the packaged zip on the embedded AWS."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commands import cli, packaging, wheels
from commands.release import Done, release
from commands.stacks import Prepared, Stack
from sandbox import world

pytestmark = pytest.mark.world
REGIONS = ("eu-west-1", "us-east-1", "ap-southeast-1")


class Silent:
    """A release that nobody watches."""

    def prepared(self, plans: object) -> None: ...
    def begin(self, plan: Prepared) -> None: ...
    def moved(self, stack: Stack, resource: str, status: str) -> None: ...
    def end(self, done: Done) -> None: ...


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[world.World]:
    """The fleet, deployed to a world that other terminals can find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "STATE", tmp_path_factory.mktemp("world") / "state.json")
        patch.delenv("LAMP_STAGE", raising=False)
        patch.setenv("COLUMNS", "120")
        with world.World.start(publish=True, stage="test", regions=REGIONS) as started:
            package = packaging.build("test", machine=wheels.here())
            done = release(started, package, REGIONS, Silent(), lambda: True, look_seconds=0.2)
            assert {one.status for one in done} == {"deployed"}
            yield started


def lamp(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = cli.main(list(words))
    shown = capsys.readouterr()
    return status, shown.out + shown.err


def test_run_plans_first_and_then_acts(deployed: world.World, capsys: pytest.CaptureFixture[str]) -> None:
    job = '{"job": "reports.nightly", "reason": "moving house"}'
    status, out = lamp(capsys, "run", "schedules.pause", job)
    assert status == 0 and "planned" in out and "moving house" in out and "add --apply to do it" in out
    _, before = lamp(capsys, "status", "--job", "reports.nightly", "--json")
    status, out = lamp(capsys, "run", "schedules.pause", job, "--apply")
    assert status == 0 and "reports.nightly: paused" in out and "INFO 1 x pause" in out
    _, after = lamp(capsys, "status", "--job", "reports.nightly", "--json")
    paused = [json.loads(text)["schedules"]["jobs"][0]["paused"] for text in (before, after)]
    assert paused == [False, True]


def test_run_in_another_region(deployed: world.World, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = lamp(capsys, "run", "tasks.status", "--region", "us-east-1", "--json")
    answer = json.loads(out)
    assert (status, answer["region"], answer["outcome"]["status"]) == (0, "us-east-1", "planned")
    assert any(line.startswith("{") for line in answer["log"])


def test_what_an_operation_refuses(deployed: world.World, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = lamp(capsys, "run", "schedules.pause", '{"job": "no such"}', "--apply")
    assert status == 1 and "refused" in out and "no job is called 'no such'" in out
    status, out = lamp(capsys, "run", "schedules.pase")
    assert status == 2 and "did you mean schedules.pause?" in out and "tasks.redrive" in out


def test_why(deployed: world.World, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = lamp(capsys, "why", "reports.nightly", "2026-03-29T12:00Z")
    assert status == 0 and "not due: '0 3 * * *' does not match 2026-03-29 14:00 in Europe/Stockholm: the hour" in out
    status, out = lamp(capsys, "why", "night", "2026-03-29T12:00Z")
    assert status == 1 and "refused" in out and "did you mean" in out


def test_status_of_all_regions(deployed: world.World, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = lamp(capsys, "status")
    assert status == 0 and "lamplighter-test on the demo" in out
    assert all(region in out for region in REGIONS) and "reports.lamps" in out and "schedule-runs" in out


def test_status_while_home_is_gone(deployed: world.World, capsys: pytest.CaptureFixture[str]) -> None:
    deployed.stop_region(REGIONS[0])
    try:
        status, out = lamp(capsys, "status", "--json")
    finally:
        deployed.start_region(REGIONS[0])
    told = json.loads(out)
    assert (status, told["schedules"]["region"]) == (0, "us-east-1")
    assert "error" in told["queues"]["eu-west-1"] and isinstance(told["queues"]["us-east-1"], list)


def test_another_stage_is_not_looked_for_in_the_demo(
    deployed: world.World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    status, out = lamp(capsys, "why", "reports.nightly", f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}", "--stage", "prod")
    assert status == 2 and "AWS, eu-west-1, lamplighter-prod-schedules_why: no AWS credentials found" in out
