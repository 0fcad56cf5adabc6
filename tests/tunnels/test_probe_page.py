"""docs/tunnels-probe.md lists every verdict that the probe can give, and no other."""

import re
from pathlib import Path

from chalicelib.mysql import handshake

ROOT = Path(__file__).resolve().parent.parent.parent
# Those whose reason is chosen in an expression.
CHOSEN = {"far too-long", "ambiguous slow", "ambiguous hung", "far garbage", "far error"}


def given() -> set[str]:
    """`side why` of every verdict in the source."""
    found = {f"far {why}" for why in handshake._FAR.values()} | CHOSEN
    for name in ("mysql/handshake", "tunnels/probe/sweep"):
        text = (ROOT / "chalicelib" / f"{name}.py").read_text()
        found |= {f"{side} {why}" for side, why in re.findall(r'HandshakeResult\("([a-z]+)", "([a-z-]+)"', text)}
    return found


def test_every_verdict_is_told_with_its_fault() -> None:
    page = (ROOT / "docs" / "tunnels-probe.md").read_text()
    table = page.split("| result | observation | the real fault |\n")[1].split("\n\n")[0]
    told = {verdict for row in table.splitlines() for verdict in re.findall(r"`([a-z]+ [a-z-]+)`", row.split("|")[1])}
    assert told == given()


def test_the_docstring_of_a_sweep_tells_every_reason() -> None:
    from chalicelib.tunnels.probe.sweep import sweep

    told = set(re.findall(r"`([a-z-]+)`", sweep.__doc__ or ""))
    assert {verdict.split()[1] for verdict in given()} <= told
