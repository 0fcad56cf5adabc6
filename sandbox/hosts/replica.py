"""A replica in a region of tunnels, which follows the primary through the region's balancer. Needs MariaDB.

replica = Replica(world, "us-east-1", far, programs) replica.follow(*tunnels.endpoint("us-east-1"))
replica.connect().cursor().execute("SHOW SLAVE STATUS")
"""

import time
from contextlib import closing
from typing import Any

import pymysql

from sandbox.hosts import mariadb
from sandbox.hosts.primary_region import Far, launch
from sandbox.hosts.programs import Programs
from sandbox.world import Sandbox, WorldError

IMAGE, REPLICA = "ami-replica", "replica"
# What docs/databases.md asks for, so that a replica that is cut off comes back at once.
_NET_TIMEOUT, _RETRY, _HEARTBEAT = 4, 1, 1
_START_SECONDS, _LOOK_SECONDS = 180.0, 0.2


class Replica:
    """A MariaDB on an instance of its own. It knows the primary's account, and nothing else of it until it follows."""

    def __init__(self, world: Sandbox, region: str, far: Far, programs: Programs) -> None:
        self._account = far.account
        world.image(IMAGE, {REPLICA: mariadb.service(
            programs, far.account, 2, "--read-only=1", f"--slave-net-timeout={_NET_TIMEOUT}")})
        self.instance, self.address = launch(world, region, IMAGE)

    def follow(self, host: str, port: int) -> None:
        """Follow the primary that is reached there, from its first transaction. `WorldError` if no server comes up."""
        with closing(started(self._account, self.address)) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, MASTER_USER='{mariadb.ACCOUNT}', "
                f"MASTER_PASSWORD='{self._account.password}', MASTER_USE_GTID=slave_pos, "
                f"MASTER_CONNECT_RETRY={_RETRY}, MASTER_HEARTBEAT_PERIOD={_HEARTBEAT}")
            cursor.execute("START SLAVE")

    def connect(self) -> Any:
        """A connection to it."""
        return connect(self._account, self.address)


def connect(account: mariadb.Account, address: str) -> Any:
    """A connection to the server at `address`, autocommitting, which waits two seconds for an answer."""
    return pymysql.connect(host=address, port=mariadb.PORT, user=mariadb.ACCOUNT, password=account.password,
                           autocommit=True, connect_timeout=2, read_timeout=2, write_timeout=2)


def started(account: mariadb.Account, address: str) -> Any:
    """The same as soon as the server takes connections. `WorldError` if it does not in time."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return connect(account, address)
        except (pymysql.MySQLError, OSError) as error:
            if time.monotonic() > deadline:
                raise WorldError(f"the MariaDB at {address} does not take connections: {error}") from error
            time.sleep(_LOOK_SECONDS)  # between two tries
