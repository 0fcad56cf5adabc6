"""A region with a journal of chosen entries."""

from collections.abc import Sequence
from datetime import UTC, datetime

from chalicelib.config import fleet
from chalicelib.context import RegionContext
from testing.fakes import MemoryTable, MemoryTopic
from tests.config.harness import GOOD

NOW = int(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp())


class Journal:
    """`entries`: the time (epoch seconds) and the operation of each."""

    def __init__(self, entries: Sequence[tuple[int, str]]) -> None:
        table = MemoryTable()
        for number, (at, operation) in enumerate(entries):
            when = datetime.fromtimestamp(at, UTC)
            table.create(f"journal#{when:%Y-%m-%d}", f"{when:%H:%M:%S}#{operation}#{number:08x}",
                         {"operation": operation, "region": "eu-west-1", "trigger": "schedule", "request": "",
                          "digest": "", "count": 0, "actions": [], "schema": 1})
        self.context = RegionContext(
            region="eu-west-1", stage="test", fleet=fleet.parse(GOOD), shared_store=MemoryTable(), local_store=table,
            queues={}, alerts=MemoryTopic(), clock=lambda: float(NOW))
