"""What the tests of the healer's operations begin with."""

import pytest

from tests.tunnels.harness import Yard


@pytest.fixture
def yard() -> Yard:
    """Two endpoints that are healthy."""
    found = Yard()
    found.rounds(8)
    assert [member.phase for member in found.state.members] == ["healthy", "healthy"] and not found.changes()
    return found
