"""The state of a key rotation, and the observation of a run. Times are epoch seconds."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from chalicelib.engine.schema import Schema, State

# In the local store.
KEY = ("tunnels", "keys")


class Command(State, frozen=True):
    """A command under way, its `kind` that of the step. `id` is Systems Manager's, empty until it is known to be sent.
    """

    instance: str
    at: float
    id: str = ""
    kind: str = "reload"


class RotationState(State, frozen=True):
    """The state that a run stores for the next. `version` is the one that was made last, `loaded` the one that each
    host has.

    `admitted` has for each host the regions of the gateways that let it in with the key in `loaded`. `denied` is the
    former version that every gateway was seen to deny. `failure` is what the last host that could not said, at
    `failed_at`. `done` means that nothing is left to do for `version`.
    """

    version: str = ""
    since: float = 0
    loaded: dict[str, str] = msgspec.field(default_factory=dict)
    admitted: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    denied: str = ""
    command: Command | None = None
    failed_at: float = 0
    failure: str = ""
    done: bool = False


SCHEMA = Schema(RotationState, 2)


class CommandStatus(msgspec.Struct, frozen=True):
    """The status of the command in progress. `version` is the one that the host says it has now, or the former one that
    it has tried. `gateways` are the regions of the gateways that did as they should, as the host says."""

    state: Literal["running", "done", "failed"]
    version: str = ""
    detail: str = ""
    gateways: tuple[str, ...] = ()


class Host(msgspec.Struct, frozen=True):
    """A member of the group. `healthy` is the balancer's result, which comes from a probe through the tunnel."""

    id: str
    in_service: bool
    healthy: bool


class RotationObservation(msgspec.Struct, frozen=True):
    """The observation of a run, with versions by label, the public keys that all gateways know by version, those that
    only some know (`scattered`), hosts, and the status of the command. `new_version` is there to be used if a key is
    made. `gateways` are the regions of all gateways. `former` is the version that was current before, if one was.
    """

    current: str
    pending: str
    published: Mapping[str, str]
    hosts: tuple[Host, ...] = ()
    command: CommandStatus | None = None
    scattered: Mapping[str, str] = {}
    new_version: str = ""
    gateways: tuple[str, ...] = ()
    former: str = ""


class Promotion(msgspec.Struct, frozen=True):
    """For `promote`, the version that becomes AWSCURRENT, and the former one."""

    version: str
    old: str


class PublicKeys(msgspec.Struct, frozen=True):
    """For `create`, `publish-keys` and `remove-old-keys`, the keys for the gateways, beside a new one."""

    kept: tuple[str, ...]
