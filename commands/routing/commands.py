"""`./lamp routing ...`, the record sets of fleet.toml, the answers to users, and the proof of it."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Column, Table
from rich.text import Text

from commands.errors import UsageError
from commands.terminal import Console, write, write_json

if TYPE_CHECKING:
    from chalicelib.config.declared import Fleet
    from chalicelib.geography import Location
    from chalicelib.routing.records.build import Wanted

FLEET = Path("fleet.toml")
# Beside the fleet's own regions, `prove` takes the first so many of these.
KNOWN = ("eu-west-1", "us-east-1", "ap-southeast-1", "us-west-2", "eu-central-1", "ap-northeast-1", "sa-east-1",
         "ap-southeast-2")
_SIZES = (3, 4, 6, 8)
_JUDGED = '[health_checks]\ntarget_groups = ["web"]\n'

FleetOption = Annotated[Path, typer.Option("--fleet", help="The fleet file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DeadOption = Annotated[list[str] | None, typer.Option("--dead", help="A region that is dead. May repeat.")]


def compile_(fleet: FleetOption = FLEET, as_json: JsonOption = False) -> None:
    """Prints the Route 53 record sets in the API's shape, and the health checks by the names that they carry there."""
    made = wanted(fleet)
    records = [*made.compiled.records, made.compiled.owner]
    if as_json:
        write_json({"ResourceRecordSets": records, "HealthChecks": made.checks})
        return
    table = Table("name", "type", "which", "leads to")
    for record in records:
        table.add_row(record["Name"], record["Type"], _which(record), _leads(record))
    console = Console()
    console.print(table)
    console.print(f"{len(records)} record sets, {len(made.checks)} health checks ({', '.join(made.checks)})")


def answer(
    place: Annotated[str, typer.Option("--from", help="A location of Route 53: SE, US-CA, EU, default.")],
    dead: DeadOption = None, fleet: FleetOption = FLEET, as_json: JsonOption = False,
) -> None:
    """Says which region a user gets, and over which record sets Route 53 finds it."""
    made = wanted(fleet)
    report = {"from": _place(place).name, "dead": dead or [], "answers": answers(made, _place(place), dead or [])}
    if as_json:
        write_json(report)
        return
    console = Console()
    for one in answers(made, _place(place), dead or []):
        share = "" if one["share"] == 1 else f"{one['share']:.0%} "
        values = ", ".join(one["values"])
        console.print(Text.assemble(f"{share}{one['region']}  {values}  ", (f"({one['type']})", "dim")))
        for name, which in one["hops"]:
            console.print(Text.assemble(f"    {name} ", (which, "dim")))


def prove(
    fleet: FleetOption = FLEET,
    regions: Annotated[list[int] | None, typer.Option(help="How many of eight known regions. May repeat.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Asks for every location with every subset of regions alive, and every state of life and evacuation.

    Proves fleet.toml, if it has a table [routing], and samples of 3, 4, 6 and 8 regions. Exits with 1 if any answer
    was not the nearest living region.
    """
    from chalicelib.routing.records import verify as proving

    rows = []
    for name, made in _subjects(fleet, regions):
        began = time.monotonic()
        proof = proving.prove(made.spec, made.compiled, made.checks)
        rows.append({"fleet": name, **msgspec.to_builtins(proof), "seconds": round(time.monotonic() - began, 2)})
    if as_json:
        write_json(rows)
    else:
        _print_proofs(rows)
    raise typer.Exit(int(any(row["wrong_answers"] for row in rows)))


def wanted(path: Path) -> "Wanted":
    """The wanted state of the fleet at `path`. Without a table [routing], an example's, with a note on stderr."""
    from chalicelib.config import fleet
    from chalicelib.routing.records import build

    declared = fleet.load(path)
    if declared.routing is None:
        write(f"{path} has no table [routing]. This is for app.example.com, a made-up one", to_stderr=True)
        declared = example([region.name for region in declared.regions])
    try:
        return build.wanted(declared)
    except build.RoutingError as error:
        raise UsageError(str(error)) from None


def example(regions: Sequence[str], more: str = "") -> "Fleet":
    """A fleet of these regions that routes app.example.com to made-up load balancers. `more` are further tables."""
    from chalicelib.config import fleet

    tables = [f'[[regions]]\nname = "{region}"\nendpoint = {{load_balancer = "app.{region}.elb.amazonaws.com", '
              f'zone = "Z0EXAMPLE", bucket = "marks-{region}"}}\n' for region in regions]
    return fleet.parse('name = "example"\n' + "".join(tables) + more + '[coordination]\nregions = ["eu-west-1"]\n'
                       '[routing]\nhostname = "app.example.com"\nzone = "Z0EXAMPLE"\n', "the example")


def answers(made: "Wanted", place: "Location", dead: Sequence[str]) -> list[dict[str, Any]]:
    """Each possible answer with its share, region, values, and hops as (name, set identifier)."""
    from chalicelib.routing.records.resolver import Index, Zone
    from chalicelib.routing.records.verify import healthy_with, region_of

    if unknown := sorted(set(dead) - set(made.spec.targets)):
        raise UsageError(f"{', '.join(unknown)}: no region of this fleet. There are {', '.join(made.spec.targets)}")
    living = [region for region in made.spec.targets if region not in dead]
    zone = Zone(Index(made.compiled.records), healthy_with(living).__contains__)
    return [{"region": region_of(made.spec, path), "share": float(path.share), "type": kind,
             "values": path.values, "hops": path.hops} for kind in made.spec.types
            for path in zone.answers(f"{made.spec.hostname}.", kind, place)]


def _place(name: str) -> "Location":
    from chalicelib import geography

    if name not in geography.places():
        raise UsageError(f"{name!r} is no location of Route 53; {geography.hint(name)}")
    return geography.places()[name]


def _subjects(path: Path, sizes: Sequence[int] | None) -> Iterable[tuple[str, "Wanted"]]:
    from chalicelib.config import fleet
    from chalicelib.routing.records import build

    if fleet.load(path).routing is not None:
        yield str(path), wanted(path)
    for size in sizes or _SIZES:
        if not 1 <= size <= len(KNOWN):
            raise UsageError(f"--regions {size}: there are 1 to {len(KNOWN)} sample regions")
        yield f"{size} regions", build.wanted(example(KNOWN[:size]))
    # The other structure: the life of a region is the verdict of its hosts' checks.
    most = max(sizes or _SIZES)
    yield f"{most}, by hosts", build.wanted(example(KNOWN[:most], _JUDGED))


def _which(record: dict[str, Any]) -> str:
    weight = f" weight {record['Weight']}" if "Weight" in record else ""
    return str(record.get("SetIdentifier", "")) + weight


def _leads(record: dict[str, Any]) -> str:
    alias = record.get("AliasTarget", {}).get("DNSName")
    text = alias or ", ".join(one["Value"] for one in record["ResourceRecords"])
    return f"{text} if {record['HealthCheckId']}" if "HealthCheckId" in record else text


def _print_proofs(rows: Sequence[dict[str, Any]]) -> None:
    lines = {"records": "record sets", "most_aliases": "alias hops", "most_locations": "places of a name",
             "places": "places", "subsets": "subsets alive", "answers": "answers asked", "states": "states",
             "combinations": "places x states", "wrong_answers": "wrong", "seconds": "seconds"}
    table = Table(Column(no_wrap=True), *(row["fleet"] for row in rows))
    for key, told in lines.items():
        table.add_row(told, *(f"{row[key]:,}" if isinstance(row[key], int) else str(row[key]) for row in rows))
    console = Console()
    console.print(table)
    for line in (line for row in rows for line in row["wrong"]):
        console.print(f"wrong: {line}", style="red")
