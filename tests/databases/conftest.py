"""Real databases for tests; their modules ask `process.need` for the programs first."""

from collections.abc import Iterator

import pytest

from testing.servers import replication
from testing.servers.replication import Town
from tests.databases.harness import REGIONS


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    """A primary in eu-west-1 and two replicas, in step, watched once."""
    with replication.town(*REGIONS, patch=monkeypatch) as found:
        for region in found.regions:
            found.run(region, "watch")
        yield found
