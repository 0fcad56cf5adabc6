"""The record of the primary, which every controller obeys, in the coordination table under `primary`/`current`."""

from typing import Literal

from chalicelib.engine.schema import Schema, State, Stored
from chalicelib.mysql.gtid import GtidSet

PRIMARY_KEY = ("primary", "current")
Steps = Literal["claimed", "fenced", "drained", "opening", "opened", "pointed"]


class Promotion(State, frozen=True):
    """A promotion in progress, with the new and the old primary's regions and the last finished step.

    `old_primary_final_gtids` has the transactions of the old primary when it was fenced, because it may be gone before
    anybody asks again.
    """

    to: str
    old: str
    step: Steps
    began: int
    forced: str = ""
    old_primary_final_gtids: GtidSet = GtidSet()


class PrimaryRecord(State, frozen=True):
    """The region with the primary, and since when. `term` grows with each promotion. It is the fencing token.

    Regions in `fenced` must not be written to, and no path to them restored. While `promotion` is there and its step is
    before `opening` nobody is to be written to. `position` is what the primary had when it was opened. `lost` what its
    predecessor is known to have had more.
    """

    region: str
    term: int = 0
    since: int = 0
    fenced: tuple[str, ...] = ()
    promotion: Promotion | None = None
    position: GtidSet = GtidSet()
    lost: GtidSet = GtidSet()

    def may_write(self, region: str) -> bool:
        """Whether the server of `region` is the one to be written to."""
        return region == self.region and region not in self.fenced


PRIMARY = Schema(PrimaryRecord, 1)


def position(record: Stored[PrimaryRecord]) -> tuple[int, int]:
    """The place of a record among all that there were, its term first and then the version of its item.

    It only grows, so that a record before one that was ever seen is of a restored table, and nobody may act on it.
    """
    return record.value.term, record.version
