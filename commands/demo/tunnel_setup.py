"""The prerequisites of the demo's tunnels, which are a database, its gateway, a replica, and their declaration.

The home region, which dies in the middle, is no part of it. The primary is in the last region, and the tunnels of the
scenario are in the second. (The others but the primary's have tunnels, too, because a fleet has them everywhere or
nowhere.)
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from chalicelib.config import fleet
from chalicelib.config.fleet import Fleet, FleetError
from chalicelib.tunnels.config import managed_name
from commands import roots
from sandbox.hosts import programs
from sandbox.hosts.host_files import Keyring
from sandbox.hosts.primary_region import Far
from sandbox.hosts.programs import Programs
from sandbox.hosts.replica import Replica
from sandbox.hosts.tunnels import image, tables
from sandbox.world import Sandbox

# AWS's limit for a target group's name.
_LONGEST = 32
# What of [tunnels] names things that are there already, which the demo's tunnels are not.
_OWN = ("group", "tag", "target_group", "document", "server")
# max_connect_errors, as MariaDB has it by default.
_MOST_ERRORS = 100


class Stage(NamedTuple):
    """The resources of the scenario from before the deployment. `declared` is put below fleet.toml."""

    declared: str
    far: Far
    keyring: Keyring
    programs: Programs
    region: str
    regions: list[str]
    replica: Replica | None


@contextmanager
def stage(world: Sandbox, declared: Fleet, name: str, more: str, used: Programs | None = None) -> Iterator[Stage | str]:
    """Database and gateway, and what is to be declared for the stage `name`, where fleet.toml and `more` allow it.

    Else the reason why there will be no such story, in one line.
    """
    if reason := unfit(declared, name):
        yield reason
        return
    with tempfile.TemporaryDirectory(prefix="lamp-demo-") as folder:
        made = _built(world, declared, name, Path(folder), programs.found() if used is None else used)
        try:
            fleet.parse((roots.fleet() / "fleet.toml").read_text() + more + made.declared, "fleet.toml", name)
        except FleetError as error:
            yield f"tunnels of the demo's own do not fit into this fleet: {str(error).splitlines()[0]}"
            return
        yield made


def unfit(declared: Fleet, name: str) -> str:
    """Why a fleet cannot have the story. Nothing if it can."""
    if len(declared.regions) < 3:
        return "tunnels need two regions beside the one that dies, and fleet.toml has two in all"
    if named := [key for key in _OWN if declared.tunnels and getattr(declared.tunnels, key)]:
        return f"fleet.toml has tunnels of its own ({', '.join(named)}), over which the demo cannot lay others"
    if len(managed_name(f"{declared.name}-{name}")) > _LONGEST:
        return f"a target group cannot be called {managed_name(f'{declared.name}-{name}')}: it is too long"
    return ""


def _built(world: Sandbox, declared: Fleet, name: str, folder: Path, used: Programs) -> Stage:
    regions = [region.name for region in declared.regions]
    keyring = Keyring(folder, world, used)
    far = Far(world, regions[-1], f"{declared.name}-{name}", keyring, used, _MOST_ERRORS)
    image(world, keyring)
    replica = Replica(world, regions[1], far, used) if used.mariadbd else None
    text = tables(world, far, keyring, regions[:-1], name)
    return Stage(text, far, keyring, used, regions[1], regions[:-1], replica)
