"""A port scan through one tunnel of the lab, where the primary takes all tunnels of a gateway for one host."""

import pytest

from chalicelib.mysql import dialect
from testing.servers import ssh, tunnelled
from testing.servers.process import need
from testing.servers.tunnelled import Setup, World

pytestmark = [pytest.mark.world, pytest.mark.slow]
# MariaDB's default is 100.
SCAN = 120


def blocked(world: World) -> bool:
    """Whether the primary denies the gateway's host by now (error 1129)."""
    return b"is blocked because of many connection errors" in world.greeting()


def test_a_port_scan_stops_replication_until_the_tuning_of_the_primary_and_never_after_it() -> None:
    need(*tunnelled.PROGRAMS, root=True)
    with tunnelled.replication(Setup("ours", "ssh", ssh.TUNED, tuned=True)) as world:
        world.scan(SCAN)
        assert blocked(world), "as MariaDB comes, a scan shuts everybody out"
        world.cut()
        assert world.await_error() and not world.connections()
        world.primary.sql(dialect.tolerate_connects("mariadb"))
        world.await_connection()
        world.scan(SCAN)
        assert not blocked(world)
        ended = world.cut()
        world.await_connection()
        assert not world.connections() & ended
