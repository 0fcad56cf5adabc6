"""The turns of time that any simulated world may take.

A table is restored from a backup, a clock is wrong, an event is of another year. A simulation brings them upon its own
world, and its own checker judges what comes of them.
"""

from datetime import UTC, datetime
from random import Random

from testing.fakes import Store

# A clock that is wrong is wrong by so much (s), in either direction.
WRONG_SECONDS = 3600
_YEAR_SECONDS = 365 * 86_400


class Backup:
    """All items of a table as they were when it was made."""

    def __init__(self, store: Store) -> None:
        self._store, self._items = store, dict(store.items)

    def restore(self) -> None:
        """The table is again as it was then. Items that came later are gone."""
        self._store.restore(self._items)


def event_of_another_year(now: float, chance: Random) -> dict[str, str]:
    """The event of a rule, years before or after `now` (epoch seconds), or just an hour or a few days off."""
    off = chance.choice((-50, -10, -1, 1, 10, 70)) * _YEAR_SECONDS
    off = chance.choice((off, off, -3 * 86_400, WRONG_SECONDS))
    return {"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(max(0.0, now + off), UTC).isoformat()}
