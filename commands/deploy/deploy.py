"""`./lamp deploy`, the fleet in AWS, every region at once, the change set shown first."""

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from chalicelib.config import fleet
from chalicelib.config.declared import Fleet
from commands import roots
from commands.deploy import deployed, packaging, permissions
from commands.deploy.account import Account
from commands.deploy.release import Done, plain, release
from commands.deploy.stacks import Prepared, Stack
from commands.errors import UsageError
from commands.terminal import Console, line, write_json

_COLOURS = {"add": "green", "modify": "yellow", "replace": "bold red", "remove": "red", "import": "cyan"}
_ENDED = ("deployed", "unchanged", "removed")
# So many changes of one stack are listed one by one; more are told as numbers.
_LISTED = 60


def deploy(
    stage: Annotated[str, typer.Option(help="Name of the installation, such as prod or test. Part of every "
                                            "name.")] = "",
    region: Annotated[list[str] | None, typer.Option(help="Only this region of the fleet. May be repeated.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before changing anything.")] = False,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Into an AWS on this machine, until Ctrl-C.")] = False,
    drop_messages: Annotated[bool, typer.Option(
        "--drop-messages", help="Also delete or replace queues that still hold messages.")] = False,
    drop_pauses: Annotated[bool, typer.Option(
        "--drop-pauses", help="Also delete the pauses of jobs that are no longer there.")] = False,
    new_names: Annotated[bool, typer.Option(
        "--new-names", help="Name all jobs as in a first deployment, if what is deployed cannot be read.")] = False,
    remove_region: Annotated[list[str] | None, typer.Option(
        help="Delete the stack that was left in a region which fleet.toml no longer has. May be repeated.")] = None,
    print_policy: Annotated[bool, typer.Option(
        "--print-policy", help="Print the IAM policies that deploying this fleet needs, and deploy nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON. Needs --yes.")] = False,
) -> None:
    """Package the project and deploy it to every region of fleet.toml, one CloudFormation stack each.

    Uses your AWS credentials as the AWS CLI does. Shows what would change, jobs first, and asks. A job that was edited
    keeps its name, and with it its history and its pause. Deploys the coordination table, then all regions at once.
    CloudFormation rolls back a failed stack. Deploying again without a change changes nothing.
    """
    console = Console(stderr=as_json)
    if sandbox:
        # Only here: what deploys to AWS has no embedded one.
        importlib.import_module("commands.deploy.sandbox").run(console, stage or "sandbox")
    if not stage:
        raise UsageError("--stage is missing. Name the installation, as in --stage prod. Or try it here with --sandbox")
    packaging.check_stage(stage)
    if print_policy:
        declared = fleet.load(roots.fleet() / "fleet.toml", stage)
        write_json(permissions.documents(declared, stage), indent=2)
        raise typer.Exit(0)
    if not yes and (as_json or not sys.stdin.isatty()):
        raise UsageError("nobody can answer here. Add --yes to deploy without asking")
    declared = fleet.load(roots.fleet() / "fleet.toml", stage)
    regions, account = _regions(declared, region), Account()

    def warn(text: str) -> None:
        console.print(line(text), style="yellow", soft_wrap=True)

    with console.status("packaging"):
        before = [] if new_names else deployed.jobs(account, declared, stage, warn)
        package = packaging.build(stage, deployed=before)
    for warning in package.warnings:
        warn(warning)
    with Screen(console) as screen:
        results = release(account, package, regions, screen, lambda: yes or screen.ask(),
                          drop_messages=drop_messages, drop_pauses=drop_pauses, remove_regions=remove_region or ())
    if as_json:
        write_json(plain(results), indent=None)
    raise typer.Exit(conclude(console, results))


def conclude(console: Console, results: Sequence[Done]) -> int:
    """Say how it ended. The exit status."""
    for done in results:
        if done.error:
            console.print(Text.assemble(("failed: ", "bold red"), line(done.error)), soft_wrap=True)
    if all(done.status == "unchanged" for done in results):
        console.print("Everything is as declared, so there is nothing to deploy.")
    elif all(done.status in _ENDED for done in results):
        for word in ("deployed", "removed"):
            places = dict.fromkeys(done.region for done in results if (done.status == "removed") == (word == "removed"))
            if places:
                console.print(Text.assemble((f"{word.capitalize()}: ", "green"), ", ".join(places), "."))
    elif not any(done.error for done in results):
        console.print("Nothing was changed.")
    return int(any(done.status == "failed" for done in results))


def _regions(declared: Fleet, wanted: Sequence[str] | None) -> list[str]:
    known = [region.name for region in declared.regions]
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"--region {name}: not a region of fleet.toml. There are {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted]


class Screen:
    """A release on a terminal, the table of changes and then one bar per stack. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[last]}", style="dim", markup=False), console=console)
        self._tasks: dict[Stack, TaskID] = {}
        self._through: dict[Stack, set[str]] = {}

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def ask(self) -> bool:
        """Whether the user wants what was shown."""
        return typer.confirm("Deploy this?", default=False)

    def jobs(self, told: Sequence[tuple[str, str]]) -> None:
        """A line for each job that is not as it was, and for each paused one."""
        table = Table(title="jobs", title_justify="left", title_style="bold")
        for heading in ("", "job"):
            table.add_column(heading, overflow="fold")
        for word, name in told:
            table.add_row(Text(line(word), _COLOURS.get(word, "yellow")), line(name))
        if told:
            self._console.print(table)

    def warned(self, lines: Sequence[str]) -> None:
        """One line for each."""
        for text in lines:
            self._console.print(line(text), style="yellow", soft_wrap=True)

    def prepared(self, plans: Sequence[Prepared]) -> None:
        """The changes of every stack. Stacks that would change alike are shown once."""
        alike: dict[tuple[object, ...], list[Prepared]] = {}
        for plan in plans:
            alike.setdefault((plan.stack.name, plan.changes), []).append(plan)
        for group in alike.values():
            self._console.print(_table(group))

    def begin(self, plan: Prepared) -> None:
        """A bar for the stack."""
        self._bars.start()
        self._through[plan.stack] = set()
        self._tasks[plan.stack] = self._bars.add_task(line(str(plan.stack)), total=len(plan.changes), last="")

    def moved(self, stack: Stack, resource: str, status: str) -> None:
        """The stack's bar, one further for each resource that is through."""
        if status.endswith("_COMPLETE") and resource != stack.name:
            self._through[stack].add(resource)
        last = line(f"{resource} {status}")
        self._bars.update(self._tasks[stack], completed=len(self._through[stack]), last=last)

    def end(self, done: Done) -> None:
        """The stack's bar, full if it went well."""
        task = self._tasks[Stack(done.region, done.stack)]
        if done.status == "deployed":
            self._bars.update(task, completed=sum(done.changes.values()), last="done")
        else:
            self._bars.update(task, last=line(done.status))


class Bars(Screen):
    """A release that shows only its progress, because everything in it is new."""

    def jobs(self, told: Sequence[tuple[str, str]]) -> None:
        """Nothing, because all of them are new."""

    def prepared(self, plans: Sequence[Prepared]) -> None:
        """How much each stack holds."""
        for plan in plans:
            self._console.print(f"{plan.stack}: {len(plan.changes)} resources", style="dim")


def _table(group: Sequence[Prepared]) -> Table:
    plan = group[0]
    places = ", ".join(one.stack.region for one in group)
    table = Table(title=line(f"{plan.stack.name} in {places}"), title_justify="left", title_style="bold")
    for heading in ("", "resource", "kind"):
        table.add_column(heading)
    if not plan.changes:
        table.add_row("", "no changes", "")
    for change in plan.changes[:_LISTED]:
        words = map(line, (change.action, change.id, change.kind))
        table.add_row(*(Text(word, _COLOURS.get(word, "")) for word in words))
    if len(plan.changes) > _LISTED:
        table.add_row("", f"and {len(plan.changes) - _LISTED} more", "")
    return table
