"""What the tests of the healer's operations begin with."""

import pytest

from tests.tunnels.harness import Yard


@pytest.fixture
def yard(monkeypatch: pytest.MonkeyPatch) -> Yard:
    """Two endpoints that are healthy."""
    found = Yard(monkeypatch)
    found.rounds(8)
    assert [slot.phase for slot in found.memory.slots] == ["healthy", "healthy"] and not found.changes()
    return found
