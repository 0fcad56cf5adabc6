"""`./lamp demo`, the whole system on this machine, with a region that dies on the way, and the proof at the end."""

import contextlib
import io
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from chalicelib.config import fleet
from chalicelib.config.declared import Fleet
from commands import roots
from commands.demo import screen, stalls, tunnels, users
from commands.demo.jobs import Jobs
from commands.demo.part import WENT_WRONG, Outage, Part, Section
from commands.demo.staged import STAGE, staged
from commands.deploy import dependencies, packaging, release, sandbox
from commands.deploy.deploy import Bars
from commands.errors import UsageError
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
    console = Console(highlight=False)
    declared = _fit(fleet.load(roots.fleet() / "fleet.toml", STAGE))
    began = time.monotonic()
    with ExitStack() as held:
        parts, skipped = held.enter_context(_deployed(console, declared, held, stay))
        watch = held.enter_context(stalls.Watch(lambda: parts.jobs.world.control("stopped"), WENT_WRONG))
        _play(console, parts)
        sections = {name: part.section() for name, part in parts.all.items()}
        status, last = stalls.verdict([one for part in sections.values() for one in part.failures], watch.found())
        _report(console, sections, skipped, (status, last, watch.found()))
        if svg:
            picture = Console(record=True, file=io.StringIO(), width=100, force_terminal=True, highlight=False)
            with contextlib.suppress(*WENT_WRONG):
                picture.print(_picture(parts))
            _report(picture, sections, skipped, (status, last, watch.found()))
            # The picture stands alone: it takes whatever monospaced font there is.
            plain = re.sub(r"@font-face \{.*?\}", "", picture.export_svg(title="./lamp demo"), flags=re.DOTALL)
            svg.write_text(plain.replace("Fira Code", "DejaVu Sans Mono"))
        if file:
            told = {"status": status, "verdict": last, "seconds": round(time.monotonic() - began, 1),
                    "stalls": watch.found(), "not_shown": skipped, "parts": {
                        name: {"figures": one.figures, "failures": one.failures} for name, one in sections.items()}}
            file.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
        if stay:
            console.print("\nThe world stays up until Ctrl-C.")
            console.print(sandbox.hints(parts.jobs.package, "lamplighter-demo/lamps"), markup=False, soft_wrap=True)
            while True:
                time.sleep(3600)
    raise typer.Exit(status)


def _fit(declared: Fleet) -> Fleet:
    """The fleet, if it can outlive its home. `UsageError` says what to declare."""
    home, rest = declared.home, [place for place in declared.coordination.regions if place != declared.home]
    if len(declared.regions) < 2:
        raise UsageError("fleet.toml: the demo needs two regions or more, so that one can die; add a [[regions]]")
    if not rest:
        raise UsageError(f"fleet.toml: coordination.regions: the demo kills {home}, which has the only coordination "
                         f"table; name the three regions of one set, for the demo alone below [stages.{STAGE}]")
    if declared.routing and (declared.routing.demand or any(
            place.endpoint and place.endpoint.capacity for place in declared.regions)):
        raise UsageError("fleet.toml: the demo counts on users in their nearest region, and demand or capacity sends "
                         f"some elsewhere; leave them out below [stages.{STAGE}] or in a copy of the fleet")
    return declared


class _Parts:
    """The parts of the demo by name."""

    def __init__(self, jobs: Jobs, users: users.Users, tunnels: Part | None, outage: Outage) -> None:
        self.jobs, self.users, self.outage = jobs, users, outage
        self.all: dict[str, Part] = {"jobs": jobs, "users": users, **({"tunnels": tunnels} if tunnels else {})}


@contextmanager
def _deployed(console: Console, declared: Fleet, held: ExitStack, stay: bool) -> Iterator[tuple[_Parts, str]]:
    """The parts, not begun, in a world to which the fleet is deployed, and why the tunnels are not among them."""
    began = time.monotonic()
    regions = [region.name for region in declared.regions]
    console.print(f"[bold]Lamplighter[/]: {len(regions)} regions on this machine, one of which will die.\n")
    with console.status("starting the embedded AWS"):
        world = held.enter_context(_world(console, regions, stay))
    product = users.product(world, regions)
    stage, skipped = None, tunnels.unfit(declared)
    with console.status("starting the product's web hosts and database, which are not Lamplighter's"):
        product.build()
        if not skipped:
            stage = held.enter_context(tunnels.stage(world, declared))
    if skipped:
        console.print(Text(f"The tunnels are not shown: {skipped}.\n"))
    more = users.declared(declared, product) + (stage.declared if stage else "")
    with console.status("packaging"):
        folder = held.enter_context(staged(declared, more))
        package = packaging.build(STAGE, root=folder, machine=dependencies.here())
    with Bars(console) as bars:
        done = release.release(world, package, regions, bars, lambda: True, look_seconds=0.2)
    if failed := [one.error for one in done if one.error]:
        raise UsageError("\n".join(failed))
    console.print(f"\nAll {len(regions)} regions are deployed, {time.monotonic() - began:.1f} s after the start.\n")
    outage = Outage(world, regions[0])
    crowd = users.Users(world, package, product, outage)
    yield _Parts(Jobs(world, package, outage, crowd.ready), crowd,
                 tunnels.TunnelFaults(world, package, stage) if stage else None, outage), skipped


def _world(console: Console, regions: list[str], stay: bool) -> contextlib.AbstractContextManager[Sandbox]:
    """A world of this demo's own. Other terminals find it, unless they find one of this fleet that runs already."""
    publish = roots.published_sandbox()
    if not stay and Sandbox.find(publish) is not None:
        console.print("Another sandbox of this fleet runs. [bold]lamp status[/] and its like show that one.\n")
        return Sandbox.start()
    return Sandbox.start(publish=publish, stage=STAGE, regions=regions)


def _play(console: Console, parts: _Parts) -> None:
    for part in parts.all.values():
        part.start()
    with screen.Show(console) as show:
        while not all(part.over.is_set() for part in parts.all.values()):
            _show(show, parts)
            time.sleep(1)
        _show(show, parts)


def _show(show: screen.Show, parts: _Parts) -> None:
    with contextlib.suppress(*WENT_WRONG):  # a world that has no time for the picture may have it later
        show.update(_picture(parts))


def _picture(parts: _Parts) -> screen.Picture:
    jobs, outage = parts.jobs, parts.outage
    down = outage.region if outage.killed.is_set() and not outage.revived.is_set() else ""
    return screen.Picture({name: part.note for name, part in parts.all.items()}, jobs.regions, down,
                          range(jobs.first, jobs.end), jobs.slots(), parts.users.crowd.now())


def _report(
    console: Console, sections: dict[str, Section], skipped: str, end: tuple[int, str, stalls.Stalls]
) -> None:
    for section in sections.values():
        screen.conclude(console, section)
    status, last, found = end
    console.print()
    if found.each and status != 3:
        console.print(Text(found.said(), "dim"))
    if skipped:
        console.print(Text(f"The tunnels were not shown: {skipped}.", "yellow"))
    console.print(Text(last, {0: "bold green", 1: "bold red"}.get(status, "bold yellow")))
