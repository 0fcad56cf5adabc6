"""A job is the same one after its command was edited: its pause holds, its history goes on, from any clone."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.config.fleet import load
from commands.deploy import dependencies, deployed, packaging, release
from commands.errors import UsageError
from sandbox.world import Sandbox
from tests.project import copy
from tests.world.least_privilege import HOME, STANDBY, Lambdas, deploy

pytestmark = pytest.mark.world

REGIONS = (HOME, STANDBY)
TIMES = "0 1 1 1 *"
FLEET = """
name = "kept"
coordination = { regions = ["eu-west-1"] }
queues = [{ name = "default" }]
[[regions]]
name = "eu-west-1"
[[regions]]
name = "us-east-1"
"""


def crontab(close: str = "echo closed", more: str = "") -> str:
    """The crontab of the test. Nothing in it is due by itself."""
    return f"{more}{TIMES} {close}\n{TIMES} echo other\n"


def clone_of(folder: Path, name: str) -> Path:
    """A copy of the project in a folder of that name, with a fleet that has schedules only."""
    (folder / name).mkdir()
    project = copy(folder / name)
    (project / "fleet.toml").write_text(FLEET)
    return project


class Project:
    """A clone of the fleet's repository that is deployed, as `lamp deploy` does it."""

    def __init__(self, world: Sandbox, root: Path) -> None:
        self.world, self.root = world, root

    def write(self, text: str) -> None:
        """The crontab of the user `made`, the only schedules of the fleet."""
        shutil.rmtree(self.root / "cron")
        (self.root / "cron" / "crontabs").mkdir(parents=True)
        (self.root / "cron" / "crontabs" / "made").write_text(text)

    def package(self) -> packaging.Package:
        """A package whose jobs have the names that are deployed."""
        fleet = load(self.root / "fleet.toml", "policy")
        warnings: list[str] = []
        before = deployed.jobs(self.world, fleet, "policy", warnings.append)
        assert warnings == []
        return packaging.build("policy", root=self.root, product=self.root, machine=dependencies.here(),
                               deployed=before)

    def deploy(self, regions: tuple[str, ...] = REGIONS, **drop: Any) -> packaging.Package:
        """Packages and releases."""
        package = self.package()
        done = release.release(self.world, package, regions, release.Quiet(), lambda: True, look_seconds=0.1, **drop)
        assert [one.error for one in done] == [""] * (len(regions) + 1)
        return package


@pytest.fixture(scope="module")
def world() -> Iterator[Sandbox]:
    with Sandbox.start() as world:
        yield world


def test_a_paused_job_stays_paused_and_its_history_one_when_its_command_is_edited(
    world: Sandbox, tmp_path: Path
) -> None:
    project = Project(world, clone_of(tmp_path, "first"))
    project.write(crontab())
    on = Lambdas(world, deploy(world, project.root))

    def status() -> dict[str, Any]:
        answer = json.loads(on.invoke("schedules_status", {}))
        return {one["job"]: one for one in answer["plan"]["report"]["jobs"]}

    def run(slot: str, minute: int, job: str = "made/echo-closed") -> None:
        on.invoke("schedules_work", on.records("schedule-runs", {
            "job": job, "slot": slot, "minute": minute, "why": "manual"}))

    def stored(pk: str) -> list[str]:
        items = world.client("dynamodb", HOME).query(
            TableName=f"{on.stack}-coordination", KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk}})["Items"]
        return [item["sk"]["S"] for item in items]

    assert status().keys() == {"made/echo-closed", "made/echo-other"}
    run("2026-01-01T00:00Z", 29_453_760)
    on.invoke("schedules_pause", {"job": "made/echo-closed", "reason": "moving house", "apply": True})

    # Another clone, as CI makes one, knows nothing but what is deployed.
    clone = Project(world, clone_of(tmp_path, "clone"))
    clone.write(crontab("echo closed at last"))
    assert clone.deploy().names.changes.edited == ("made/echo-closed",)
    assert {job: one["paused"] for job, one in status().items()} == {"made/echo-closed": True, "made/echo-other": False}
    run("2026-01-01T00:01Z", 29_453_761)
    assert stored("run#made/echo-closed") == ["2026-01-01T00:00Z", "2026-01-01T00:01Z"]

    # One region has a release more than the other, and both agree on the names.
    clone.write(crontab("echo all of it closed at last", more=f"{TIMES} date\n"))
    clone.deploy((STANDBY,))
    clone.write(crontab("echo all of it closed at long last", more=f"{TIMES} date\n"))
    assert [job.name for job in clone.deploy().names.jobs] == ["made/date", "made/echo-closed", "made/echo-other"]
    assert status()["made/echo-closed"]["paused"]

    # Its owner gives it a name. The pause goes along, and the history is found under both names.
    clone.write(crontab("echo all of it closed at long last", more=f"{TIMES} date\n# lamp: name=closing\n"))
    assert clone.deploy().names.changes.renamed == (("made/echo-closed", "closing"),)
    assert status()["closing"]["paused"] and status()["closing"]["last"]["slot"] == "2026-01-01T00:01Z"
    assert stored("paused") == ["closing"]
    for name in ("closing", "made/echo-closed"):
        asked = {"job": name, "time": "2026-01-01T00:01Z"}
        report = json.loads(on.invoke("schedules_why", asked))["plan"]["report"]
        assert (report["job"], report["answer"]) == ("closing", "manual"), report
        assert report["output"] == "closed at last\n"

    # Removed, it would take its pause along.
    clone.write(crontab().splitlines()[1] + "\n")
    with pytest.raises(UsageError, match=r"closing is paused .*moving house.*\n.*--drop-pauses"):
        clone.deploy()
    assert "closing" in status()
    clone.deploy(drop_pauses=True)
    assert status().keys() == {"made/echo-other"}
    assert stored("paused") == []


def test_without_the_package_nobody_guesses_the_names(world: Sandbox, tmp_path: Path) -> None:
    project = Project(world, clone_of(tmp_path, "lost"))
    for region in REGIONS:
        s3 = world.client("s3", region)
        bucket = next(one["Name"] for one in s3.list_buckets()["Buckets"] if region in one["Name"])
        for one in s3.list_objects_v2(Bucket=bucket)["Contents"]:
            s3.delete_object(Bucket=bucket, Key=one["Key"])
    with pytest.raises(UsageError, match=r"eu-west-1: .*NoSuchKey(.|\n)*--new-names"):
        project.package()
