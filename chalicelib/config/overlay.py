"""The part of fleet.toml for one stage alone. Tables below `[stages.NAME]` merge over the rest. Pure."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.config.workload import Path_


def stages(path: Path) -> tuple[str, ...]:
    """The stages that the file has tables `[stages.NAME]` for. None if it cannot be read or is not valid TOML."""
    try:
        found = tomllib.loads(path.read_bytes().decode()).get("stages", {})
    except (OSError, ValueError):
        return ()
    return tuple(found) if isinstance(found, dict) else ()


def stage_section(stages: object, stage: str) -> dict[str, Any]:
    """The settings of the table `stages` for `stage`. `msgspec.ValidationError` if it is not made of tables."""
    if not isinstance(stages, dict) or not all(isinstance(one, dict) for one in stages.values()):
        raise msgspec.ValidationError("Expected a table for each stage, as in [stages.test] - at `$.stages`")
    own: dict[str, Any] = stages.get(stage, {})
    return own


def merged(base: Any, own: Any) -> Any:
    """`own` merged over `base`. Tables merge key by key, lists of tables by `name`, and any other value replaces the
    old one."""
    if isinstance(base, dict) and isinstance(own, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in own.items()}}
    if _named(base) and _named(own):
        over = {one["name"]: one for one in own}
        kept = [merged(one, over.pop(one["name"], {})) for one in base]
        return [*kept, *over.values()]
    return own


def _named(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "name" in one for one in value)


def source_path(path: Path_, own: dict[str, Any], stage: str) -> Path_:
    """The place in the file of the value that ended up at `path`."""
    return ("stages", stage, *path) if path and path[0] in own else path
