"""docs/fleet.md: one table of keys under the heading of each struct, with every key, default and choice."""

import re
import typing

import msgspec
import pytest

from chalicelib.config import databases, declared, durations, fleet, tunnel_hosts, tunnels, workload
from chalicelib.config import routing as config
from commands.roots import PRODUCT as ROOT

DOCUMENTED: dict[str, type[msgspec.Struct]] = {
    "the file": fleet.DeclaredFleet,
    "[[regions]]": declared.Region,
    "[regions.network]": declared.Network,
    "[regions.ecs]": declared.EcsNetwork,
    "[coordination]": declared.Coordination,
    "[schedules]": declared.Schedules,
    "[schedules.ecs]": workload.Ecs,
    "[schedules.ssm]": workload.Ssm,
    "[schedules.http]": workload.Http,
    "[runners]": declared.Runners,
    "[tasks]": declared.Tasks,
    "[[queues]]": declared.Queue,
    "[health_checks]": declared.HealthChecks,
    "[regions.endpoint]": declared.Endpoint,
    "[routing]": config.Routing,
    "[[routing.preferences]]": config.PreferenceOverride,
    "[tunnels]": tunnels.Tunnels,
    "[databases]": databases.Databases,
    "[[databases.servers]]": databases.Server,
    "[tunnels.hosts]": tunnel_hosts.Hosts,
    "[[tunnels.hosts.regions]]": tunnel_hosts.HostRegion,
    "[[tunnels.hosts.ways]]": tunnel_hosts.PrimaryRoute,
}


def documented(heading: str) -> dict[str, tuple[str, str]]:
    """Key -> (type, default) of the table under `heading`."""
    page = (ROOT / "docs" / "fleet.md").read_text()
    section = re.search(rf"^##+ `?{re.escape(heading)}`?$(.*?)(?=^##|\Z)", page, re.M | re.S)
    assert section, f"docs/fleet.md has no heading {heading}"
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| .+ \|$", section[1], re.M)
    return {key: (kind, default) for key, kind, default in rows}


def default(field: msgspec.structs.FieldInfo) -> str:
    """A field's default as the page writes it."""
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or isinstance(value, msgspec.Struct) or value in ((), {}):
        return "none"
    if isinstance(value, durations.Duration):
        value = durations.words(value)
    return f"`{msgspec.json.encode(value).decode()}`"


@pytest.mark.parametrize("heading", DOCUMENTED)
def test_the_page_tells_every_key_and_no_other(heading: str) -> None:
    fields = {field.encode_name: default(field) for field in msgspec.structs.fields(DOCUMENTED[heading])}
    assert {key: told for key, (_, told) in documented(heading).items()} == fields


def test_every_struct_of_the_fleet_is_on_the_page() -> None:
    everything = [value for module in (fleet, declared, workload, config, tunnels, tunnel_hosts, databases)
                  for value in vars(module).values() if value not in (declared.Basics, declared.Fleet)]
    structs = {value for value in everything if isinstance(value, type) and issubclass(value, msgspec.Struct)}
    assert structs == set(DOCUMENTED.values())


@pytest.mark.parametrize("heading", DOCUMENTED)
def test_the_page_tells_every_choice(heading: str) -> None:
    for field in msgspec.structs.fields(DOCUMENTED[heading]):
        if typing.get_origin(field.type) is typing.Literal:
            told, _ = documented(heading)[field.encode_name]
            assert told == ", ".join(f"`{choice}`" for choice in typing.get_args(field.type))
