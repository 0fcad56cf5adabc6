"""The limit on concurrent runs of a task, across invocations, a semaphore of leased permits.

Each place is an item of the regional table, taken by a conditional write. Its lease ends with the invocation that holds
it, even if that dies. So a dead Lambda frees its permit within 15 minutes, and nothing ever needs a renewal.
"""

import zlib

from chalicelib.aws.store import Item, Store

_SKEW = 5  # seconds by which the clocks of two Lambdas of a region may differ, generously
_TRIES = 3
_MOST = 1000
_KEPT = 86_400


class Permits:
    """The permit of one invocation, at most one, for the task that it runs."""

    def __init__(self, table: Store) -> None:
        self._table = table
        self.held: Item | None = None

    def hold(self, task: str, limit: int, who: str, now: float, until: float) -> bool:
        """Whether `who` has one of the `limit` places of `task`, until the epoch second `until` at the latest."""
        if self.held and self.held.pk == _pk(task):
            return True
        self.free()
        items = {item.sk: item for item in self._table.query(_pk(task), newest=False, limit=_MOST)}
        taken = {sk for sk, item in items.items() if item.body["until"] + _SKEW > now}
        # Places beyond the limit count too: it may have been higher when they were taken.
        if len(taken) >= limit:
            return False
        body = {"until": int(until) + 1, "by": who}
        for sk in _free(taken, limit, who)[:_TRIES]:
            self.held = self._take(task, sk, items.get(sk), body)
            if self.held:
                return True
        return False

    def free(self) -> None:
        """Give the place back, if one is held."""
        held, self.held = self.held, None
        if held:
            self._table.delete(held)

    def _take(self, task: str, sk: str, lapsed: Item | None, body: dict[str, object]) -> Item | None:
        ttl = int(str(body["until"])) + _KEPT
        if lapsed is None:
            return self._table.create(_pk(task), sk, body, ttl=ttl)
        return self._table.compare_and_set(lapsed, body, ttl=ttl)


def _free(taken: set[str], limit: int, who: str) -> list[str]:
    """The free places, beginning somewhere else for everybody so that few meet at the same one."""
    names = [f"{number:04d}" for number in range(limit)]
    start = zlib.crc32(who.encode()) % limit
    return [name for name in names[start:] + names[:start] if name not in taken]


def _pk(task: str) -> str:
    return f"task-slots#{task}"
