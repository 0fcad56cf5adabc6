"""What the wheel depends on: the lines of requirements/*.in, so that no version stands in two files."""

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# The wheel's own needs, and its extras, by group.
NEEDED = ("lamp", "check")
EXTRAS = ("audit", "bench", "map")


class Requirements(MetadataHookInterface):
    """Called by hatchling while it builds the wheel."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fills in what pyproject.toml calls dynamic."""
        folder = Path(self.root) / "requirements"
        metadata["dependencies"] = [line for group in NEEDED for line in lines(folder, group)]
        metadata["optional-dependencies"] = {group: list(lines(folder, group)) for group in EXTRAS}


def lines(folder: Path, group: str) -> list[str]:
    """The requirements of a group, those of the groups that it includes among them."""
    found = []
    for line in (folder / f"{group}.in").read_text().splitlines():
        if line.startswith("-r "):
            found += lines(folder, line[3:].strip().removesuffix(".in"))
        elif line and not line.startswith("#"):
            found.append(line)
    return found
