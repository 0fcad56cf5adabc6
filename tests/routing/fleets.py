"""Fleets with routing, and an oracle of Route 53's answers: what the tests of routing stand on."""

from collections.abc import Iterable, Mapping

from chalicelib.config import fleet
from chalicelib.geography import Location
from chalicelib.routing.records import build
from sandbox.route53 import answers

EIGHT = ("eu-west-1", "us-east-1", "ap-southeast-1", "us-west-2", "eu-central-1", "ap-northeast-1", "sa-east-1",
         "ap-southeast-2")
JUDGED = '[health_checks]\ntarget_groups = ["web"]\n'


def text(regions: Iterable[str] = EIGHT[:3], more: str = "", capacity: Mapping[str, float] | None = None,
         addresses: bool = False, judged: bool = False) -> str:
    """A fleet.toml that routes app.example.com over `regions`; `more` goes into its table [routing].

    `judged`: its hosts have rotated health checks.
    """
    tables = ""
    for number, region in enumerate(regions):
        where = (f'addresses = ["192.0.2.{number + 1}"]' if addresses
                 else f'load_balancer = "app.{region}.elb.amazonaws.com", zone = "ZELB"')
        most = f", capacity = {capacity[region]!r}" if capacity else ""
        tables += f'[[regions]]\nname = "{region}"\nendpoint = {{{where}, bucket = "marks-{region}"{most}}}\n'
    return (f'name = "acme"\n{tables}[coordination]\nregions = ["eu-west-1"]\n'
            f'{JUDGED if judged else ""}[routing]\nhostname = "app.example.com"\nzone = "ZONE"\n{more}')


def wanted(regions: Iterable[str] = EIGHT[:3], more: str = "", **options: object) -> build.Wanted:
    """What that fleet wants in Route 53."""
    return build.wanted(fleet.parse(text(regions, more, **options)), "test")  # type: ignore[arg-type]


def location(place: Location) -> answers.Location:
    """`place` as a query's location for the twin of Route 53."""
    match place.kind:
        case "continent":
            return answers.Location(place.code)
        case "country":
            return answers.Location(place.within.removeprefix("continent:"), place.code)
        case "state":
            return answers.Location("NA", "US", place.code)
        case _:
            return answers.Location()
