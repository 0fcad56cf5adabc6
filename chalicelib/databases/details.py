"""The details of the actions, as values. `Action.details` holds one of them, and the digest of a plan covers it."""

from typing import Literal

import msgspec

from chalicelib.databases.state import PrimaryRecord, RegionReport

# How a server is kept from taking writes: by us, by its own watch (the proof), or not at all, as a person has said.
FenceMethod = Literal["set-read-only", "proof", "forced"]


class Fence(msgspec.Struct, frozen=True):
    """The server takes writes that belong elsewhere, by the primary's record of this term and version of the item."""

    term: int
    version: int = 0


class Rejoin(msgspec.Struct, frozen=True):
    """The fence to lift, in this version of the primary's record."""

    version: int


class PublishReport(msgspec.Struct, frozen=True):
    """The report for other regions, the metrics, and whether to write the heartbeat on the way."""

    report: RegionReport
    beat: bool = False
    gauges: dict[str, float] = {}


class Restart(msgspec.Struct, frozen=True):
    """The threads to start, of `IO` and `SQL`."""

    threads: tuple[str, ...]


class RecordFence(msgspec.Struct, frozen=True):
    """The primary's record to write in the place of this version."""

    version: int
    primary: PrimaryRecord


class ReplicationSource(msgspec.Struct, frozen=True):
    """The address that a replica is to replicate from. `id` is the server's there, where it is known."""

    host: str
    port: int
    id: str = ""


class Promotion(msgspec.Struct, frozen=True):
    """The promotion that a step belongs to, by the new primary's region and its term. `forced` is a person's reason to
    accept a loss."""

    to: str
    term: int
    forced: str


class ClaimTerm(Promotion, frozen=True):
    """The primary's record to write in the place of this version. Its times are put in when it is written."""

    version: int
    primary: PrimaryRecord


class CloseWriter(Promotion, frozen=True):
    """How the server of a region is kept from taking writes."""

    how: FenceMethod


class ApplyRelayLog(Promotion, frozen=True):
    """The region of the primary until now, whose last events are fetched and applied."""

    old: str


class ChangeSource(Promotion, frozen=True):
    """The new source of another replica."""

    source: ReplicationSource
