"""Every piece of fleet.toml on the pages is read by the parser that reads a user's."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.config import fleet
from tests.tunnels.fleets import HOST_KEY

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A fleet that lacks nothing, by the key that a page's piece may bring along itself.
WHOLE = {
    "name": 'name = "acme"',
    "regions": 'regions = [{name = "eu-west-1"}, {name = "us-east-1"}]',
    "coordination": 'coordination.regions = ["eu-west-1", "eu-central-1", "eu-west-3"]',
    "queues": 'queues = [{name = "default"}]',
}
# What a page leaves out, and the reader has to put there.
PLACEHOLDERS = {"AAAA...": HOST_KEY.removeprefix("ssh-ed25519 ")}
# A line of TOML that opens a table, or sets a key.
_TOML = re.compile(r"\[{1,2}[a-z_.\"]+\]{1,2}(\s*#.*)?|[a-z_.]+ = (\".*|\[.*|\{.*|\d.*|true.*|false.*)")


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """Each TOML block of a page with its line, fenced or indented by four blanks."""
    for found in re.finditer(r"^( *)```toml\n(.*?)^\1```", text, re.M | re.S):
        yield text.count("\n", 0, found.start()) + 2, re.sub(f"^{found[1]}", "", found[2], flags=re.M)
    plain = re.sub(r"^( *)```.*?^\1```", lambda fenced: "x" + "\nx" * fenced[0].count("\n"), text, flags=re.M | re.S)
    for found in re.finditer(r"(?<=\n\n)(?:(?:    .*)?\n)+", plain):
        lines = [line.removeprefix("    ") for line in found[0].splitlines()]
        written = [line for line in lines if line.strip() and not line.startswith("#")]
        if written and _TOML.fullmatch(written[0]):
            yield plain.count("\n", 0, found.start()) + 1, "\n".join(lines)


PIECES = [(f"{page.relative_to(ROOT)}:{line}", piece) for page in PAGES for line, piece in pieces(page.read_text())]


def completed(piece: str) -> str:
    """`piece` with what a fleet cannot do without, as far as the piece does not bring it along."""
    for left_out, filled in PLACEHOLDERS.items():
        piece = piece.replace(left_out, filled)
    given = tomllib.loads(piece)
    return "\n".join([*(line for key, line in WHOLE.items() if key not in given), piece])


@pytest.mark.parametrize(("place", "piece"), PIECES, ids=[place for place, _ in PIECES])
def test_a_piece_of_fleet_toml_on_a_page_is_read(place: str, piece: str) -> None:
    text = completed(piece)
    for stage in ("", *tomllib.loads(text).get("stages", {})):
        fleet.parse(text, place, stage)


def test_pieces_are_found_fenced_and_indented() -> None:
    page = "a\n\n```toml\n[a]\n```\n\n1. b\n\n   ```toml\n   [b]\n   ```\n"
    page += "\nc\n\n    [c]\n    d = 1\n\n    e = 2\n\nf\n\n    lamp check\n"
    assert [(line, tomllib.loads(text)) for line, text in pieces(page)] == [
        (4, {"a": {}}), (10, {"b": {}}), (15, {"c": {"d": 1, "e": 2}})]
    assert len(PIECES) >= 10
