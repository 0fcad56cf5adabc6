"""The permissions of the databases' Lambdas: none missing, none superfluous.

A real primary and a real replica, with the users that docs/databases.md makes. A Lambda keeps a login for minutes, so
before each exercise the passwords are others: it has to ask for them again.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from chalicelib.config.fleet import parse
from chalicelib.databases.state import (
    MEMORY,
    PRIMARY_KEY,
    REPAIRS,
    PrimaryRecord,
    RegionReport,
    RepairState,
    WatchState,
    body,
)
from chalicelib.engine import schema
from chalicelib.tunnels.state import KEY as TUNNELS_KEY
from chalicelib.tunnels.state import SCHEMA as TUNNELS
from chalicelib.tunnels.state import Member, TunnelState
from commands import roots
from sandbox.world import Sandbox
from testing.eventually import eventually
from testing.servers import mariadb, process
from testing.servers.mariadb import MariaDB
from testing.servers.replication import LOGINS, documented
from tests.project import copy
from tests.world.least_privilege import HOME, STANDBY, Exercise, Lambdas, LeastPrivilege, deploy, numbers

pytestmark = pytest.mark.world
process.need(*mariadb.PROGRAMS)

# The server_id of the server that is the primary at first.
PRIMARY_ID = "2"
SECRETS = {"watch": "lamplighter/databases/watch", "admin": "lamplighter/databases/admin"}
_OPTIONS = ("--log-bin=bin", "--log-slave-updates", "--gtid-strict-mode=ON", "--skip-name-resolve")


def written(home: tuple[str, int] = ("127.0.0.2", 1), standby: tuple[str, int] = ("127.0.0.3", 1)) -> str:
    """fleet.toml for this test: the replica is at home, the primary is not."""
    return (roots.PRODUCT / "fleet.toml").read_text() + f"""
[databases]
flavour = "mariadb"
primary = "{STANDBY}"
secret = "{SECRETS["watch"]}"
admin_secret = "{SECRETS["admin"]}"
repair = "full"
tls = "off"
[tunnels]
mode = "observe"
primary = "{STANDBY}"
slots = 2
port = 3306
target_group = "tunnels"
document = "restart-tunnel"
group = "tunnels"
[[databases.servers]]
region = "{HOME}"
host = "{home[0]}"
port = {home[1]}
[[databases.servers]]
region = "{STANDBY}"
host = "{standby[0]}"
port = {standby[1]}
"""


class Servers(Lambdas):
    """The deployed fleet with its primary, away, and the replica in this region."""

    replica: MariaDB
    primary: MariaDB

    def renewed(self) -> None:
        """Both users have new passwords, which their secrets hold; nothing is agreed on but what fleet.toml says."""
        secrets, password = self.world.client("secretsmanager", HOME), f"password {next(numbers)}"
        # Not through replication, which may stand still.
        for server in (self.replica, self.primary):
            server.sql("SET SESSION sql_log_bin = 0", *(
                f"ALTER USER {user}@'%' IDENTIFIED BY '{password}'" for user, _ in LOGINS.values()))
        for name, (user, _) in LOGINS.items():
            secrets.put_secret_value(SecretId=SECRETS[name], SecretString=json.dumps(
                {"username": user, "password": password}))
        # A record that is gone is one that went back, unless nobody has seen it.
        self.remember(*MEMORY, body(WatchState(0)))
        for key in (PRIMARY_KEY, ("databases", HOME), ("databases", STANDBY)):
            self.drop(*key)

    def agreed(self) -> None:
        """All regions know who the primary is, and the other one has told of its server."""
        self.put(*PRIMARY_KEY, body(PrimaryRecord(STANDBY, term=1)))
        self.put("databases", STANDBY, body(RegionReport(time.time(), True, id=PRIMARY_ID)))

    def shut_out(self) -> None:
        """The primary knows another password than the secrets, so that it does not answer any more."""
        self.primary.sql("SET SESSION sql_log_bin = 0", *(
            f"ALTER USER {user}@'%' IDENTIFIED BY 'another'" for user, _ in LOGINS.values()))

    def follow(self, source: MariaDB, *, start: bool = True) -> None:
        """The replica replicates from `source`, or would."""
        self.replica.sql(
            "STOP SLAVE", "RESET SLAVE ALL", f"CHANGE MASTER TO MASTER_HOST='{source.address}', "
            f"MASTER_PORT={source.port}, MASTER_USER='repl', MASTER_PASSWORD='repl', MASTER_USE_GTID=slave_pos, "
            "MASTER_CONNECT_RETRY=1", *(["START SLAVE"] if start else []))

    def thread(self) -> str:
        """What fetches from the source: Yes, No, Connecting."""
        return str(self.replica.sql("SHOW SLAVE STATUS")[0]["Slave_IO_Running"])

    def in_step(self) -> None:
        """Replication as it should be: from a primary that takes writes to a replica that does not."""
        self.primary.sql("SET GLOBAL read_only = 0")
        self.replica.sql("SET GLOBAL read_only = 1")
        self.follow(self.primary)
        eventually(lambda: self.thread() == "Yes")


def watch(on: Lambdas) -> None:
    """A server that takes writes although another region has become the primary, then a fenced one that replicates."""
    assert isinstance(on, Servers)
    on.renewed()
    on.put(*PRIMARY_KEY, body(PrimaryRecord(STANDBY, term=1)))
    on.remember(*MEMORY, body(WatchState(0)))
    on.replica.sql("SET GLOBAL read_only = 0")
    on.invoke("databases_watch", {"apply": True})
    on.in_step()
    on.put(*PRIMARY_KEY, body(PrimaryRecord(STANDBY, term=1, fenced=(HOME,))))
    on.put("databases", STANDBY, body(RegionReport(time.time(), True, id=PRIMARY_ID)))
    on.remember(*MEMORY, body(WatchState(0)))
    on.invoke("databases_watch", {"apply": True})


def heal(on: Lambdas) -> None:
    """A replica that stands still, then one whose error stays: it is told to replicate from itself."""
    assert isinstance(on, Servers)
    on.renewed()
    on.agreed()
    on.follow(on.primary, start=False)
    on.remember(*TUNNELS_KEY, schema.encode(TunnelState(time.time(), (Member("1", phase="healthy"),)), TUNNELS))
    on.remember(*REPAIRS, body(RepairState(0)))
    on.invoke("databases_heal", {"apply": True})
    on.follow(on.replica)
    eventually(lambda: on.thread() == "No")
    on.remember(*REPAIRS, body(RepairState(0)))
    on.invoke("databases_heal", {"apply": True})


def tune(on: Lambdas) -> None:
    """A replica that waits too long for its primary."""
    assert isinstance(on, Servers)
    on.renewed()
    on.agreed()
    on.in_step()
    on.replica.sql("SET GLOBAL slave_net_timeout = 60")
    on.invoke("databases_tune", {"apply": True})


def fence(on: Lambdas) -> None:
    """A server that takes writes."""
    assert isinstance(on, Servers)
    on.renewed()
    on.agreed()
    on.replica.sql("SET GLOBAL read_only = 0")
    on.invoke("databases_fence", {"apply": True})


def promote(on: Lambdas) -> None:
    """The replica becomes the primary, once of a primary that lets nobody in."""
    assert isinstance(on, Servers)
    for asked in ({}, {"region": HOME, "force": "test"}):
        on.renewed()
        on.agreed()
        on.in_step()
        if asked:
            on.shut_out()
        on.invoke("databases_promote", {**asked, "apply": True})


def status(on: Lambdas) -> None:
    """A look."""
    assert isinstance(on, Servers)
    on.renewed()
    on.agreed()
    on.invoke("databases_status", {})


EXERCISES: dict[str, Exercise] = {
    "databases_watch": watch, "databases_heal": heal, "databases_tune": tune, "databases_fence": fence,
    "databases_promote": promote, "databases_status": status}


@pytest.fixture(scope="module")
def lambdas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The real Lambdas, in the replica's region."""
    project = copy(tmp_path_factory.mktemp("databases"))
    with ExitStack() as stack:
        replica, primary = (stack.enter_context(mariadb.server(f"--server-id={id}", *_OPTIONS)) for id in (1, 2))
        primary.sql(*documented(), "CREATE USER repl@'%' IDENTIFIED BY 'repl'",
                   "GRANT REPLICATION SLAVE ON *.* TO repl@'%'")
        (project / "fleet.toml").write_text(written((replica.address, replica.port), (primary.address, primary.port)))
        world = stack.enter_context(Sandbox.start())
        for name in SECRETS.values():
            world.client("secretsmanager", HOME).create_secret(Name=name)
        found = Servers(world, deploy(world, project, regions=[HOME]))
        found.replica, found.primary = replica, primary
        found.in_step()
        want = primary.sql("SELECT @@gtid_binlog_pos AS p")[0]["p"]
        assert replica.sql(f"SELECT MASTER_GTID_WAIT('{want}', 30) AS w")[0]["w"] == 0
        yield found


class TestDatabases(LeastPrivilege):
    prefixes = ("databases_",)
    exercises = EXERCISES
    fleet = parse(written())
