"""fleet.toml as a file: read, checked as a whole, and packed for the Lambdas.

`load` reads the file or raises `FleetError`, whose text has one line per mistake, each with file, line, key and
remedy. No Lambda imports this, because its package has the file as it was checked (`declared.unpack`).
"""

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.config import databases as databases_declared
from chalicelib.config import overlay, workload
from chalicelib.config import routing as config
from chalicelib.config import tunnels as tunnel
from chalicelib.config.databases import Databases
from chalicelib.config.declared import (
    LONGEST_NAME,
    REGION_SETS,
    RESERVED,
    SECTIONS,
    Basics,
    Coordination,
    Fleet,
    HealthChecks,
)
from chalicelib.config.durations import duration
from chalicelib.config.routing import Routing
from chalicelib.config.tunnels import Tunnels
from chalicelib.config.workload import Path_

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


class FleetError(Exception):
    """fleet.toml cannot be used. The text names each mistake with its line and its remedy."""


class DeclaredFleet(Basics, frozen=True, forbid_unknown_fields=True):
    """All that fleet.toml declares, as it is checked."""

    routing: Routing | None = None
    tunnels: Tunnels | None = None
    databases: Databases | None = None


@cache
def load(path: Path = Path("fleet.toml"), stage: str = "") -> Fleet:
    """The fleet that `path` declares for `stage`. `FleetError` lists all that is wrong with it."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise FleetError(f"{path}:1: cannot be read ({error}). Write it in UTF-8, see docs/fleet.md") from None
    return parse(text, str(path), stage)


def parse(text: str, file: str = "fleet.toml", stage: str = "") -> Fleet:
    """The fleet that `text` declares for `stage`. `file` is the name used in errors.

    The table `[stages.NAME]` holds in that stage alone, over the tables above. They merge key by key, and lists of
    tables by `name`.
    """
    if text.startswith("\ufeff"):
        raise FleetError(f"{file}:1: begins with a byte order mark. Save it as UTF-8 without BOM")
    own: Any = {}
    try:
        raw = tomllib.loads(text)
        own = overlay.stage_section(raw.pop("stages", {}), stage)
        whole = msgspec.convert(overlay.merged(raw, own), DeclaredFleet, dec_hook=duration)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise FleetError(f"{file}:{line[1] if line else 1}: not valid TOML ({error}). See docs/fleet.md") from None
    except RecursionError:
        raise FleetError(f"{file}:1: nested too deeply to be a fleet. See docs/fleet.md") from None
    except msgspec.ValidationError as error:
        raise FleetError(_explain(text, file, str(error), own, stage)) from None
    fleet = _fleet(whole)
    mistakes = [f"{file}:{_line(text, overlay.source_path(path, own, stage))}: {_key(path)}: {what}"
                for path, what in _mistakes(fleet)]
    if mistakes:
        raise FleetError("\n".join(mistakes))
    return fleet


def _fleet(whole: DeclaredFleet) -> Fleet:
    fields = {name: getattr(whole, name) for name in whole.__struct_fields__ if name not in SECTIONS}
    return Fleet(**fields, sections={name: getattr(whole, name) for name in SECTIONS})


def pack(text: str, stage: str) -> bytes:
    """The declarations of `text`, which `parse` has taken, for `stage`. `declared.unpack` reads them."""
    plain = tomllib.loads(text)
    merged = overlay.merged(plain, overlay.stage_section(plain.pop("stages", {}), stage))
    return json.dumps(merged, sort_keys=True).encode()


def to_builtins(fleet: Fleet) -> dict[str, Any]:
    """The fleet as plain values, durations in seconds (for `--json`)."""
    plain: dict[str, Any] = msgspec.to_builtins(fleet, enc_hook=int)
    del plain["sections"]
    return plain | {name: msgspec.to_builtins(getattr(fleet, name), enc_hook=int) for name in SECTIONS}


def _explain(text: str, file: str, error: str, own: dict[str, Any], stage: str) -> str:
    what, _, where = error.partition(" - at `$")
    path = tuple(int(part) if part.isdigit() else part for part in re.findall(r"[A-Za-z_][\w-]*|\d+", where))
    unknown = re.search(r"unknown field `([^`]*)`", what)
    missing = re.search(r"missing required field `([^`]*)`", what)
    if unknown:
        path, what = (*path, unknown[1]), "no such key. Remove it or see docs/fleet.md for the ones there are"
    elif missing:
        what = f"the key {missing[1]!r} is missing here. Add it, see docs/fleet.md"
    else:
        what = f"{what[:1].lower()}{what[1:]}; see docs/fleet.md"
    return f"{file}:{_line(text, overlay.source_path(path, own, stage))}: {_key(path) or 'the file'}: {what}"


def _key(path: Path_) -> str:
    """`path` as an error names it, on one line, whatever characters a key holds."""
    return ".".join(str(part) if str(part).isprintable() else repr(part) for part in path)


def _line(text: str, path: Path_) -> int:
    """The line (from 1) where the deepest known part of `path` begins, because tomllib keeps no positions."""
    lines, at = text.split("\n"), 0
    for depth, part in enumerate(path):
        if isinstance(part, int):
            continue
        order = path[depth + 1] if depth + 1 < len(path) and isinstance(path[depth + 1], int) else 0
        dotted = r"\.".join(re.escape(str(p)) for p in path[: depth + 1] if isinstance(p, str))
        pattern = re.compile(rf"\s*(\[+\s*{dotted}\s*\]+|[\"']?{re.escape(part)}[\"']?\s*=|{dotted}\s*=)")
        found = [number for number, line in enumerate(lines) if number >= at and pattern.match(line)]
        if not found:
            continue  # a table of a stage has its parents in its own heading
        at = found[min(int(order), len(found) - 1)]
    return at + 1


def _mistakes(fleet: Fleet) -> Iterator[tuple[Path_, str]]:
    yield from _names(fleet)
    yield from _regions(fleet)
    yield from _coordination(fleet.coordination)
    yield from workload.mistakes(
        fleet.schedules, fleet.queues, fleet.tasks, fleet.runners,
        [region.name for region in fleet.regions if not region.ecs_network])
    yield from _health_checks(fleet.health_checks)
    yield from config.mistakes(fleet.routing, {region.name: region.endpoint for region in fleet.regions})
    yield from tunnel.errors(fleet.tunnels, [region.name for region in fleet.regions])
    yield from databases_declared.mistakes(
        fleet.databases, [region.name for region in fleet.regions], fleet.tunnels.primary if fleet.tunnels else None)


def _names(fleet: Fleet) -> Iterator[tuple[Path_, str]]:
    if reserved := next((begin for begin in RESERVED if f"{fleet.name}-".startswith(begin)), ""):
        yield ("name",), f"{fleet.name!r} begins with {reserved!r}, which AWS keeps for itself. Choose another"
    if len(fleet.name) > LONGEST_NAME:
        why = "Lambda's 64 also hold the stage and the function"
        yield ("name",), f"{fleet.name!r} is longer than {LONGEST_NAME} characters: {why}. Shorten it"
    if fleet.alarm_email is not None and not _ADDRESS.fullmatch(fleet.alarm_email):
        yield ("alarm_email",), f"{fleet.alarm_email!r} is not a mail address. Write it as in ops@example.org"


def _regions(fleet: Fleet) -> Iterator[tuple[Path_, str]]:
    if not fleet.regions:
        yield ("regions",), "a fleet needs at least one [[regions]]. The first is home"
    for number, region in enumerate(fleet.regions):
        if not _REGION.fullmatch(region.name):
            yield ("regions", number, "name"), f"{region.name!r} is not an AWS region. Write it as in eu-west-1"
    yield from workload.twice("regions", [region.name for region in fleet.regions])


def _coordination(coordination: Coordination) -> Iterator[tuple[Path_, str]]:
    regions = coordination.regions
    for region in regions:
        if not _REGION.fullmatch(region):
            yield ("coordination", "regions"), f"{region!r} is not an AWS region. Write it as in eu-west-1"
    one_set = any(set(regions) <= known for known in REGION_SETS)
    if len(regions) not in (1, 3) or len(set(regions)) != len(regions) or (len(regions) == 3 and not one_set):
        sets = "; or ".join(", ".join(sorted(known)) for known in REGION_SETS)
        yield ("coordination", "regions"), f"name one region, or three different ones of one set ({sets})"


def _health_checks(checks: HealthChecks | None) -> Iterator[tuple[Path_, str]]:
    if checks is None:
        return
    if not checks.target_groups:
        yield ("health_checks", "target_groups"), "name at least one target group. Its targets are the hosts"
    if checks.healthy_threshold >= checks.fixed_checks:
        what = "must be less than fixed_checks. A region may lose the difference at once"
        yield ("health_checks", "healthy_threshold"), what
    slot = -(-(60 + (checks.failures + 1) * checks.interval) // 60)
    if 120 * checks.rotating_checks > 220 * slot:
        # Each stop of a rover is two requests; 300 an hour also have to do for the fixed_checks.
        most = 220 * slot // 120
        yield ("health_checks", "rotating_checks"), f"at most {most} where each stays {slot} minutes with a host"


