"""`./lamp demo`, the whole system on this machine, with a region that dies on the way, and the proof at the end."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from chalicelib.config import fleet
from chalicelib.crontab.dst import stamp
from commands import roots
from commands.demo import routing as demo_routing
from commands.demo import screen as demo_screen
from commands.demo import tunnel_setup
from commands.demo import tunnels as demo_tunnels
from commands.demo.faults import Told
from commands.demo.report_data import Evidence, Report, Slot, Tasks
from commands.demo.tasks import send
from commands.demo.tunnels_screen import conclude as conclude_tunnels
from commands.deploy import dependencies, packaging, release
from commands.deploy.deploy import Bars
from commands.errors import UsageError
from sandbox.world import Sandbox

STAGE = "demo"
# The story of the schedules, in minutes from its first: three with all regions, while the health checks of the users'
# story settle; two without home; one with home back.
_ALONE, _BACK, _END = 3, 5, 6
# Home dies this long before the first minute that it is to miss, and comes back as long before the last.
_LEAD_SECONDS = 5
_SETTLE_SECONDS = 90


def demo(
    file: Annotated[Path | None, typer.Option("--json", help="Write the closing report to this file.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the last screen and the report to this file.")] = None,
    stay: Annotated[bool, typer.Option("--stay", help="Keep the world up afterwards, until Ctrl-C.")] = False,
) -> None:
    """Deploy to three regions of an AWS on this machine, kill the home region, count what ran and who was served.

    Meanwhile the tunnels to a database are killed, hung, cut off and replaced. Takes about nine minutes. Exits with 1
    unless every slot of every job ran exactly once and every task was done or dead-lettered. Every user must have
    service but for the time that health checks and DNS may take. Every tunnel must be repaired, and no row lost.
    """
    console = Console(highlight=False)
    with _deployed(console) as story:
        report = story.tell()
        demo_screen.conclude(console, report, story.evidence)
        report = msgspec.structs.replace(report, routing=story.users())
        demo_screen.conclude_users(console, report)
        report = msgspec.structs.replace(report, tunnels=story.tunnelled())
        conclude_tunnels(console, report.tunnels)
        if svg:
            demo_screen.draw(svg, story.picture(), report, story.evidence)
        if file:
            file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        if stay:
            demo_screen.stay(console)
            while True:
                time.sleep(3600)
    raise typer.Exit(int(report.failed))


@contextmanager
def _deployed(console: Console) -> Iterator["Story"]:
    began = time.monotonic()
    declared = fleet.load(roots.fleet() / "fleet.toml", STAGE)
    regions = [region.name for region in declared.regions]
    if len(regions) < 2:
        raise UsageError("fleet.toml: the demo needs two regions or more, so that one can die")
    console.print(f"[bold]Lamplighter[/]: {len(regions)} regions on this machine, one of which will die.\n")
    with ExitStack() as held:
        with console.status("starting the embedded AWS"):
            world = held.enter_context(Sandbox.start(publish=roots.published_sandbox(), stage=STAGE, regions=regions))
        product = demo_routing.product(world, regions)
        more = ""
        with console.status("starting the product's web hosts and database, which are not Lamplighter's"):
            product.build()
            more = demo_routing.declared(declared, product)
            stage = held.enter_context(tunnel_setup.stage(world, declared, STAGE, more))
        if isinstance(stage, str):
            console.print(f"No story of tunnels: {stage}.\n", markup=False)
        with console.status("packaging"):
            more += "" if isinstance(stage, str) else stage.declared
            package = packaging.build(STAGE, machine=dependencies.here(), more=more)
        with Bars(console) as screen:
            done = release.release(world, package, regions, screen, lambda: True, look_seconds=0.2)
        if failed := [one.error for one in done if one.error]:
            raise UsageError("\n".join(failed))
        seconds = time.monotonic() - began
        console.print(f"\nAll {len(regions)} regions are deployed: {seconds:.1f} s after the start.\n")
        tunnels = None if isinstance(stage, str) else demo_tunnels.Story(world, package, stage)
        yield Story(world, package, console, began, seconds, demo_routing.Story(world, package, product), tunnels)


class Story:
    """The events of the demo, minute by minute."""

    def __init__(
        self, world: Sandbox, package: packaging.Package, console: Console, began: float, deployed_after: float,
        routing: demo_routing.Story, tunnels: demo_tunnels.Story | None,
    ) -> None:
        self.world, self.console, self.routing, self.tunnels = world, console, routing, tunnels
        self.evidence = Evidence(world, package, time.time())
        self.home = package.fleet.home
        self.patience = package.fleet.schedules.takeover_delay
        self.first = int(time.time()) // 60 + 1
        self.end = self.first + _END
        self._regions = [region.name for region in package.fleet.regions]
        self._began, self._deployed_after = began, deployed_after
        self._ids: list[str] = []
        self._note = "waiting for the first full minute"
        self._down = ""

    def tell(self) -> Report:
        """All of it. The guarantees that held and those that did not."""
        self.routing.start()
        if self.tunnels:
            self.tunnels.start()
        demo_screen.timetable(self.console, self.evidence, self.first)
        with demo_screen.Show(self.console) as show:
            self._until(self.first * 60, show)
            self._ids = send(self.world, self.evidence.package.stack, self._regions)
            self._note = f"all regions live; {len(self._ids):,} tasks sent: 50 of them fail once, 3 always"
            self._until((self.first + _ALONE) * 60 - _LEAD_SECONDS, show)
            self.routing.kill()
            self._down = self.home
            self._note = f"{self.home} is dead; {self._regions[1]} waits {self.patience} s, then does its work"
            self._until((self.first + _BACK) * 60 - _LEAD_SECONDS, show)
            self.routing.revive()
            self._down = ""
            self._note = f"{self.home} is back and starts the next minute"
            self._until(self.end * 60 - 60 + 15, show)
            self._note = "waiting until everything is settled"
            self._until(time.time() + _SETTLE_SECONDS, show, self._settled)
            self._note = "everything is settled"
            show.update(self.picture())
        return self._report(self.routing.died, self.routing.returned)

    def users(self) -> demo_routing.Told:
        """The rest of the users' story, and what became of it."""
        self.console.print("\nThe users' story goes on.")
        with demo_screen.Show(self.console) as show:
            while not self.routing.over.wait(1):
                show.update(self.picture())
            show.update(self.picture())
        return self.routing.told()

    def tunnelled(self) -> Told | None:
        """The rest of the tunnels' story, which is over by now as a rule, and what became of them."""
        if self.tunnels is None:
            return None
        if not self.tunnels.over.is_set():
            with demo_screen.Show(self.console) as show:
                while not self.tunnels.over.wait(1):
                    show.update(self.picture())
        return self.tunnels.told()

    def _until(self, when: float, show: demo_screen.Show, enough: Callable[[], bool] = lambda: False) -> None:
        """Shows what happens until `when` (epoch seconds) or until it is `enough`."""
        while time.time() < when:
            show.update(self.picture())
            if enough():
                return
            time.sleep(max(0.0, min(1.0, when - time.time())))

    def picture(self) -> demo_screen.Picture:
        """The moment as it is to be shown."""
        slots = self.evidence.slots(self.first, self.end, logs=False)
        tunnels = self.tunnels.note if self.tunnels else ""
        return demo_screen.Picture(self._note, self._regions, self._down, self.first, self.end, slots,
                                   self.routing.note, self.routing.crowd.now(), tunnels)

    def _settled(self) -> bool:
        slots = self.evidence.slots(self.first, self.end, logs=False)
        return all(slot.state == "done" for slot in slots) and self.evidence.tasks(self._ids).add_up

    def _report(self, stopped: float, restarted: float) -> Report:
        slots = self.evidence.slots(self.first, self.end, logs=True)
        tasks = self.evidence.tasks(self._ids)
        taken = [slot.late for slot in slots if slot.region not in ("", self.home)]
        takeover = max(taken, default=0.0)
        return Report(
            round(self._deployed_after, 1), round(time.monotonic() - self._began, 1), self.home,
            _utc(stopped), _utc(restarted), slots, tasks, takeover,
            list(self._failures(slots, tasks, takeover)))

    def _failures(self, slots: list[Slot], tasks: Tasks, takeover: float) -> Iterator[str]:
        for slot in slots:
            if not slot.once:
                yield f"{slot.job} for {slot.slot}: {slot.state}, claimed {slot.claims} times"
        if not tasks.add_up:
            yield f"tasks do not add up: {json.dumps(msgspec.to_builtins(tasks))}"
        alone = range(self.first + _ALONE, self.first + _BACK)
        for slot in slots:
            if slot.minute in alone and slot.region == self.home:
                yield f"{slot.job} for {slot.slot} ran in {self.home}, which was dead"
        if takeover > self.patience + 60:
            yield f"a slot was taken over only after {takeover} s; {self.patience + 60} s is the limit"
        if not any(slot.minute in alone and slot.region == self._regions[1] for slot in slots):
            yield f"{self._regions[1]} took nothing over"


def _utc(seconds: float) -> str:
    return f"{stamp(int(seconds) // 60)}:{int(seconds) % 60:02d}Z"
