"""`./lamp demo`, the whole system on this machine, with a region that dies on the way, and the proof at the end."""

import contextlib
import io
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from chalicelib.config import fleet
from chalicelib.config.declared import Fleet
from commands import roots
from commands.demo import screen, tunnels
from commands.demo.jobs import Jobs
from commands.demo.part import WENT_WRONG, Part, Section
from commands.demo.staged import STAGE, staged
from commands.demo.users import Users
from commands.deploy import dependencies, packaging, release, sandbox
from commands.deploy.deploy import Bars
from commands.errors import UsageError
from commands.terminal import Console
from sandbox.crowd import Outage
from sandbox.stalls import Stalls
from sandbox.world import Sandbox


def demo(
    file: Annotated[Path | None, typer.Option("--json", help="Write the closing report to this file.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the last screen and the report to this file.")] = None,
    stay: Annotated[bool, typer.Option("--stay", help="Keep the world up afterwards, until Ctrl-C.")] = False,
) -> None:
    """Deploy to three regions of an AWS on this machine, kill the home region, count what ran and who was served.

    Meanwhile the tunnels to a database are killed, hung, cut off and replaced. Takes about nine minutes. Exits with 0
    if every slot of every job ran exactly once and every task was done or dead-lettered. Every user must have service
    but for the time that health checks and DNS may take. Every tunnel must be repaired, and no row lost. Exits with 1
    if anything of that did not hold, and with 3 if this machine was too slow to tell.
    """
    console = Console()
    declared = _fit(fleet.load(roots.fleet() / "fleet.toml", STAGE))
    began = time.monotonic()
    with ExitStack() as held:
        regions = [region.name for region in declared.regions]
        console.print(f"Lamplighter: {len(regions)} regions on this machine, one of which will die.\n", style="bold")
        with console.status("starting the embedded AWS"):
            # Other terminals find this world, unless they find one of this fleet that runs already.
            there = None if stay else Sandbox.find(roots.published_sandbox())
            world = held.enter_context(Sandbox.start(
                publish=None if there else roots.published_sandbox(), stage=STAGE, regions=regions))
        outage = Outage(declared.home)
        jobs, crowd = Jobs(world, declared, outage), Users(world, declared, outage)
        parts: dict[str, Part] = {"jobs": jobs, "users": crowd}
        if not (skipped := tunnels.unfit(declared)):
            parts["tunnels"] = tunnels.TunnelFaults(world, declared, outage)
        package = _deploy(console, world, parts, held)
        console.print(f"\nAll {len(regions)} regions are deployed, {time.monotonic() - began:.1f} s after the start.\n")
        stalls = Stalls()
        held.enter_context(stalls.watching(lambda: world.control("stopped"), *WENT_WRONG))
        _play(console, parts, jobs, crowd)
        sections = {name: part.section() for name, part in parts.items()}
        status, last = verdict([one for part in sections.values() for one in part.failures], stalls)
        _report(console, sections, skipped, status, last)
        if svg:
            picture = Console(record=True, file=io.StringIO(), width=100, force_terminal=True)
            with contextlib.suppress(*WENT_WRONG):
                picture.print(_picture(parts, jobs, crowd))
            _report(picture, sections, skipped, status, last)
            # The picture stands alone: it takes whatever monospaced font there is.
            plain = re.sub(r"@font-face \{.*?\}", "", picture.export_svg(title="./lamp demo"), flags=re.DOTALL)
            svg.write_text(plain.replace("Fira Code", "DejaVu Sans Mono"))
        if file:
            told = {"status": status, "verdict": last, "seconds": round(time.monotonic() - began, 1),
                    "stalls": {"seconds": stalls.seconds, "each": stalls.each}, "not_shown": skipped, "parts": {
                        name: {"figures": one.figures, "failures": one.failures} for name, one in sections.items()}}
            file.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
        if stay:
            console.print("\nThe world stays up until Ctrl-C.")
            console.print(sandbox.hints(package, "lamplighter-demo/lamps"), soft_wrap=True)
            while True:
                time.sleep(3600)
    raise typer.Exit(status)


def verdict(failures: Sequence[str], stalls: Stalls) -> tuple[int, str]:
    """The status of the command, and its last line: 0 if all held, 1 if not, 3 if the machine was too slow to tell."""
    if not failures:
        return 0, f"All of it held. {stalls.said()}"
    if stalls.slow:
        return 3, f"This machine was too slow to tell. {stalls.said()} Run the demo again when less else runs here."
    many = f"{len(failures)} failure{'s' if len(failures) > 1 else ''}"
    return 1, f"It did not hold: {many}, listed above. {stalls.said()}"


def _fit(declared: Fleet) -> Fleet:
    """The fleet, if it can outlive its home. `UsageError` says what to declare."""
    home = declared.home
    if len(declared.regions) < 2:
        raise UsageError("fleet.toml: the demo needs two regions or more, so that one can die; add a [[regions]]")
    if {home} >= {*declared.coordination.regions}:
        raise UsageError(f"fleet.toml: coordination.regions: the demo kills {home}, which has the only coordination "
                         f"table; name the three regions of one set, for the demo alone below [stages.{STAGE}]")
    if declared.routing and (declared.routing.demand or any(
            place.endpoint and place.endpoint.capacity for place in declared.regions)):
        raise UsageError("fleet.toml: the demo counts on users in their nearest region, and demand or capacity sends "
                         f"some elsewhere; leave them out below [stages.{STAGE}] or in a copy of the fleet")
    return declared


def _deploy(console: Console, world: Sandbox, parts: Mapping[str, Part], held: ExitStack) -> packaging.Package:
    """The fleet, deployed with what the parts add to it. They have begun then."""
    declared = parts["jobs"].fleet
    with console.status("starting the product's web hosts and database, which are not Lamplighter's"):
        more = "".join(part.prepare(held) for part in parts.values())
    with console.status("packaging"):
        folder = held.enter_context(staged(declared, more))
        package = packaging.build(STAGE, root=folder, machine=dependencies.here())
    with Bars(console) as bars:
        done = release.release(world, package, parts["jobs"].regions, bars, lambda: True, look_seconds=0.2)
    if failed := [one.error for one in done if one.error]:
        raise UsageError("\n".join(failed))
    for part in parts.values():
        part.start(package)
    return package


def _play(console: Console, parts: Mapping[str, Part], jobs: Jobs, crowd: Users) -> None:
    with screen.shown(console) as show:
        running = True
        while running:
            running = not all(part.over for part in parts.values())
            with contextlib.suppress(*WENT_WRONG):  # a world that has no time for the picture may have it later
                show(_picture(parts, jobs, crowd))
            time.sleep(1)


def _picture(parts: Mapping[str, Part], jobs: Jobs, crowd: Users) -> screen.Picture:
    down = jobs.outage.region if jobs.outage.died > jobs.outage.returned else ""
    return screen.Picture({name: part.note for name, part in parts.items()}, jobs.regions, down,
                          range(jobs.first, jobs.end), jobs.slots(), crowd.crowd.now())


def _report(console: Console, sections: Mapping[str, Section], skipped: str, status: int, last: str) -> None:
    for section in sections.values():
        screen.conclude(console, section)
    if skipped:
        console.print(Text(f"\nThe tunnels were not shown: {skipped}.", "yellow"))
    console.print(Text(f"\n{last}", {0: "bold green", 1: "bold red"}.get(status, "bold yellow")))
