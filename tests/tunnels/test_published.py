"""What other capabilities read of the tunnels is what the controller writes."""

from chalicelib.engine import state as engine
from chalicelib.engine.schema import Unreadable
from chalicelib.tunnels import published, state
from testing.fakes import MemoryTable


def test_the_summary_of_what_the_controller_wrote_counts_its_healthy_members() -> None:
    store = MemoryTable()
    members = (state.Member("a", phase="healthy"), state.Member("b", phase="drained"), state.Member("c"))
    written = state.TunnelState(at=5.0, members=members, fenced_primary="eu-west-1")
    assert engine.write(store, state.KEY, state.SCHEMA, None, written, run_id="r")
    assert published.KEY == state.KEY and published.SCHEMA.number == state.SCHEMA.number
    assert published.read_summary(store) == published.TunnelsSummary(healthy=1, members=3, at=5.0)


def test_the_summary_of_an_unreadable_state_says_so_and_of_none_is_none() -> None:
    store = MemoryTable()
    assert published.read_summary(store) is None
    store.create(*published.KEY, {"schema": 1, "members": "many"})
    assert isinstance(published.read_summary(store), Unreadable)
