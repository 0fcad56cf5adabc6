"""The observations of routing's operations, as frozen values."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from chalicelib.engine.schema import Schema, State, Stored, Unreadable
from chalicelib.routing.records.checks import Checks
from chalicelib.routing.records.spec import Record


class CheckObservation(msgspec.Struct, frozen=True):
    """A health check of ours in Route 53. `settled` when enough of Route 53's checkers have reported on it."""

    id: str
    name: str
    reference: str
    settled: bool


class BucketObservation(msgspec.Struct, frozen=True):
    """The bucket `name` of `region` for flags. It is `open` to health checkers, `closed` or `missing`. It may also be
    another owner's (`foreign`), have a policy of its own that keeps checkers out (`own policy`), or be unknown since
    its region does not answer (`away`)."""

    region: str
    name: str
    state: str


class ZoneObservation(msgspec.Struct, frozen=True):
    """The wanted and the existing state of a zone. `existing_records` is the whole hosted zone, everybody's records.

    `references` has the caller reference of each wanted check, which changes with the check's config. `region_checks`
    has the id of each check that the records carry and routing does not make. These are the calculated checks of the
    regions. The id is empty for one that does not exist yet.
    """

    hostname: str
    zone: str
    owner: str
    wanted: Sequence[Record]
    checks: Checks
    references: Mapping[str, str]
    existing_records: Sequence[Record]
    existing_checks: Sequence[CheckObservation]
    region_checks: Mapping[str, str] = {}
    buckets: Sequence[BucketObservation] = ()
    force: bool = False
    adopt: bool = False
    unreadable: tuple[Unreadable, ...] = ()


class EvacuationFlag(msgspec.Struct, frozen=True, omit_defaults=True):
    """The S3 object that keeps users away from a region, `manual` or set by `hold_down` after a failure.

    Everybody may read it, so the reason that a person gave is in the journal alone. `problem` is that of an object of
    another making, and is never written.
    """

    by: Literal["manual", "hold_down"]
    # Up to the year 2242.
    at: Annotated[int, msgspec.Meta(ge=0, lt=1 << 33)]
    problem: str = ""

    @property
    def why(self) -> str:
        """The reason for people."""
        if self.problem:
            return f"kept away by an object that Lamplighter did not write ({self.problem})"
        return (f"kept away {'by hand' if self.by == 'manual' else 'since it died by itself'}, from "
                f"{datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%MZ} on")


class RegionHealth(State, frozen=True):
    """The state of `routing.hold_down` for a region, under `region-health`/`<region>` of the regional table.

    It failed to answer so often in a row, the last time at `failed_at`, or has answered since `healthy_since` (epoch
    seconds, 0: it does not).
    """

    failures_in_a_row: int = 0
    healthy_since: int = 0
    failed_at: int = 0


HEALTH_PK = "region-health"
HEALTH_SCHEMA = Schema(RegionHealth, 1)


class EndpointReport(State, frozen=True):
    """The regions whose endpoints gave a region no answer at its last look, at `at` (epoch seconds).

    It lies under `endpoint-reports`/`<region>` of the coordination table.
    """

    at: int
    unhealthy: tuple[str, ...] = ()


REPORT_PK = "endpoint-reports"
REPORT_SCHEMA = Schema(EndpointReport, 1)
# A report counts for so long. A rule fires anywhere within its minute, so up to 2 min lie between two runs.
REPORT_SECONDS = 180
# So far (s) the clocks of two regions may be apart.
CLOCK_SKEW_SECONDS = 30


class RegionObservation(msgspec.Struct, frozen=True):
    """A region as seen from here, with its endpoint's health and the flag that evacuates it.

    `flag_known` is false if the flag could not be looked for. `before` is its health as it was read before this
    observation. `no_flag_because` says, with the remedy, why no flag can be set, such as for want of its bucket.
    """

    name: str
    alive: bool
    mark: EvacuationFlag | None = None
    flag_known: bool = True
    before: Stored[RegionHealth] | Unreadable = Stored(RegionHealth())
    no_flag_because: str = ""

    @property
    def serves(self) -> bool:
        """Whether it takes users."""
        return self.alive and self.mark is None


class FleetObservation(msgspec.Struct, frozen=True):
    """All regions. `keeper_of` are those whose flag this region keeps, `asked` the one that an operation is about.

    `here` is the region that looks, and `at` the time there once all have been asked. `reports` are those of the other
    regions by name, `None` if the table gave no answer. At least `minimum` regions must take users.
    """

    regions: Sequence[RegionObservation]
    hold: int
    keeper_of: Sequence[str] = ()
    asked: str = ""
    reason: str = ""
    here: str = ""
    at: float = 0
    reports: Mapping[str, EndpointReport] | None = msgspec.field(default_factory=dict)
    bad_reports: tuple[Unreadable, ...] = ()
    minimum: int = 1

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The stored items that cannot be read."""
        own = (region.before for region in self.regions if isinstance(region.before, Unreadable))
        return (*own, *self.bad_reports)

    def others_serve(self, region: str) -> bool:
        """Whether enough others take users. A flag that is unreadable counts as none, as for Route 53."""
        return sum(other.serves for other in self.regions if other.name != region) >= self.minimum

    def others_surely_serve(self, region: str, now: int) -> bool:
        """The same of those whose flag is known, and that are not about to be held down by whoever keeps their flag.

        All keepers read the same reports. So two that decide at the same moment do not rely on each other's region.
        """
        return sum(other.serves and other.flag_known and not self.is_unhealthy_to_most(other.name, now)
                   for other in self.regions if other.name != region) >= self.minimum

    def is_unhealthy_to_most(self, region: str, now: int) -> bool:
        """Whether more than half of all regions had no answer from `region` at their last look, as this one reads it.

        Of two regions neither is most. There the one that looks must reach the other's S3, which keeps its own flag,
        and the other must not have reported that it answers.
        """
        fresh = {name: report.unhealthy for name, report in (self.reports or {}).items()
                 if -CLOCK_SKEW_SECONDS <= now - report.at <= REPORT_SECONDS}
        seen = next((known for known in self.regions if known.name == region), None)
        own = seen is not None and not seen.alive
        if len(self.regions) < 3:
            return (own and all(known.flag_known for known in self.regions if known.name == self.here)
                    and region in fresh.get(region, (region,)))
        against = own + sum(region in fresh.get(known.name, ()) for known in self.regions if known.name != self.here)
        return 2 * against > len(self.regions)


class NewCheck(msgspec.Struct, frozen=True):
    """A health check to make. Its children are given by name. `known_ids` has the ids of those that exist."""

    reference: str
    config: Mapping[str, Any]
    known_ids: Mapping[str, str]


class RecordBatch(msgspec.Struct, frozen=True):
    """Changes of a hosted zone that are carried out together or not at all."""

    zone: str
    changes: Sequence[Mapping[str, Any]]


class HealthChange(msgspec.Struct, frozen=True):
    """The new state of `routing.hold_down` for a region, in the place of the one read."""

    before: Stored[RegionHealth]
    after: RegionHealth
