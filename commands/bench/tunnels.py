"""`lamp bench tunnels`: how many endpoints a second can be probed, that probes block no host, and for how long
replication stands still when tunnels die or hang."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Annotated, NamedTuple

import typer

from commands.bench import tunnels_gaps, tunnels_probes
from commands.bench.figures import Figure, report
from commands.errors import UsageError
from testing.servers import tunnelled
from testing.servers.process import DEBIAN, missing


class Part(NamedTuple):
    """A part of the benchmark, and the programs that it needs. A part with programs also needs root."""

    measure: Callable[[], Iterator[Figure]]
    programs: Sequence[str] = ()


PARTS = {"rate": Part(tunnels_probes.rate), "blocks": Part(tunnels_probes.blocks, tunnels_probes.PROGRAMS),
         "gaps": Part(tunnels_gaps.measure, tunnelled.PROGRAMS)}


def bench(
    only: Annotated[str, typer.Option(help="One part: rate, blocks, or gaps.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure the probe, and replication through tunnels beside plain ssh and autossh.

    Blocks and gaps need root on Linux, and the real servers (apt-get install mariadb-server openssh-server haproxy
    autossh iproute2). Exits with 1 if a limit is not kept.
    """
    if only and only not in PARTS:
        raise UsageError(f"--only {only} is no part. Name one of {', '.join(PARTS)}")
    parts = [PARTS[only]] if only else list(PARTS.values())
    # What a part needs and is not there is told before the first one takes its time.
    need(*(program for part in parts for program in part.programs))
    report(chain.from_iterable(part.measure() for part in parts), as_json=as_json)


def need(*programs: str) -> None:
    """A mistake of the user's if one of `programs`, or root, which they all need, is missing."""
    if lacking := missing(*programs):
        raise UsageError(f"this part needs {', '.join(lacking)}. Run apt-get install {DEBIAN}")
    if programs and os.geteuid() != 0:
        raise UsageError("this part needs root, for networks of its own. Without root, run ./lamp bench tunnels "
                         "--only rate")
