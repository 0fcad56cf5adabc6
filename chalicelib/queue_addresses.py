"""The addresses of the stack's queues in this region, as name in fleet.toml -> URL.

The environment of a Lambda holds 4 KB at most ("Lambda quotas", developer guide), and a fleet may declare any number of
queues. So a Lambda has only the beginning that all addresses share, and a file of the package has the rest of each.
A sender outside of the stack sets LAMP_QUEUES instead, a JSON object with all of them.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

# The file's name in the package.
FILE = "queues.json"
# The variables of the beginning that all addresses share, and of all addresses.
PREFIX, ALL = "LAMP_QUEUE_PREFIX", "LAMP_QUEUES"
# The zip's root in Lambda, the repository's elsewhere.
_ROOT = Path(__file__).resolve().parent.parent


class UnknownQueues(Exception):
    """The addresses are not known here. The text says why, and what to do."""


def build(names: Mapping[str, str]) -> bytes:
    """The file of the package. It has the rest of the address after the prefix for each name in fleet.toml."""
    return msgspec.json.encode(dict(sorted(names.items())))


def urls(environment: Mapping[str, str] | None = None, root: Path = _ROOT) -> dict[str, str]:
    """Queue name -> URL. `UnknownQueues` where nothing says so."""
    known = os.environ if environment is None else environment
    try:
        if ALL in known or PREFIX not in known:
            return msgspec.json.decode(known.get(ALL, ""), type=dict[str, str])
        tails = msgspec.json.decode((root / FILE).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError) as error:
        raise UnknownQueues(f"LAMP_QUEUES must hold a JSON object of queue names and URLs ({error}). Every Lambda of "
                            "the stack knows its queues. Elsewhere take the value from the stack's output Queues"
                            ) from None
    return {name: known[PREFIX] + tail for name, tail in tails.items()}
