"""The publication for other regions: `region-check`/`<region>` of the coordination table has the region's check.

`health_checks.rotate` of each region writes it. Routing attaches that check to the region's records.
"""

from chalicelib.engine.schema import Schema, State

PK = "region-check"


class RegionCheck(State, frozen=True):
    """`id` is Route 53's id of the calculated check that says whether the region is healthy."""

    id: str


SCHEMA = Schema(RegionCheck, 1)
