"""`lamp deploy --sandbox`: the fleet in an AWS on this machine, for as long as the command runs."""

import json
import time
import zipfile
from contextlib import ExitStack

from chalicelib.crontab.job_file import JobFile
from commands import roots
from commands.deploy import dependencies, packaging, release
from commands.deploy.deploy import Bars
from commands.errors import UsageError
from commands.terminal import Console, line
from sandbox.world import Sandbox


def hints(package: packaging.Package, job: str) -> str:
    """Commands to try from another terminal while a sandbox runs `package`, which has `job`."""
    name = json.dumps({"job": job})
    words = ("status", "journal", f"run schedules.run '{name}'", f"run schedules.run '{name}' --apply",
             f"run schedules.pause '{name}'", "run tasks.peek")
    return "\n".join(["From another terminal:", *(f"  {roots.command(one)}" for one in words)])


def first_job(package: packaging.Package) -> str:
    """The name of a job in the package, or `NAME` if it has none."""
    with zipfile.ZipFile(package.zip) as packed:
        book = JobFile.load(packed.read("jobs.bin"))
    return book[0].name if len(book) else "NAME"


def run(console: Console, stage: str) -> None:
    """Start an embedded AWS with the fleet's regions, deploy there, and stay until Ctrl-C."""
    with console.status("packaging"):
        package = packaging.build(stage, machine=dependencies.here())
    for warning in package.warnings:
        console.print(line(warning), style="yellow", soft_wrap=True)
    regions = [region.name for region in package.fleet.regions]
    began = time.monotonic()
    with ExitStack() as held:
        with console.status("starting the embedded AWS"):
            world = held.enter_context(Sandbox.start(publish=roots.published_sandbox(), stage=stage, regions=regions))
        with Bars(console) as screen:
            done = release.release(world, package, regions, screen, lambda: True, look_seconds=0.2)
        if failed := [one.error for one in done if one.error]:
            raise UsageError("\n".join(failed))
        console.print(f"\n{package.stack} runs in {len(regions)} regions on this machine, "
                      f"{time.monotonic() - began:.0f} s after the start. It stays until Ctrl-C.")
        console.print(hints(package, first_job(package)), soft_wrap=True)
        while True:
            time.sleep(3600)
