"""The probe against a real MariaDB through real tunnels: never blocked where all others are, and every fault told.

127.0.0.1 is the one address that MariaDB never blocks, so nothing here comes from it: direct probes are bound to other
loopback addresses, and tunnels run in a network of their own, where sshd reaches the database from its address.
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from chalicelib.mysql.handshake import packed
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.probe.sweep import PendingProbes, Target, sweep
from testing.eventually import eventually
from testing.servers import haproxy, mariadb, network, process, ssh
from testing.servers.mariadb import MariaDB
from testing.servers.ssh import Sshd

pytestmark = pytest.mark.world
process.need(*mariadb.PROGRAMS, *ssh.PROGRAMS, *haproxy.PROGRAMS, "ip", root=True)

PLENTY, SHORT = 180.0, 1.0
SOURCE = "127.0.0.2"
STRICT = ("--max-connect-errors=1", "--performance-schema=ON", "--back-log=1000")
# What the database finds when it looks up who connects; of those it finds nothing about it blocks none.
HOSTS = "127.0.0.1 localhost\n127.0.0.2 near.test\n10.0.0.1 far.test\n" + "".join(
    f"127.0.1.{number} near{number}.test\n" for number in range(1, 9))
OPEN = "CREATE USER app@'%' IDENTIFIED BY 'secret'"


def probe(
    place: Target | MariaDB, parked: PendingProbes | None = None, seconds: float = PLENTY, source: str = ""
) -> ProbeResult:
    """One sweep over one endpoint."""
    target = Target("db", place.address, place.port) if isinstance(place, MariaDB) else place
    kept = PendingProbes() if parked is None else parked
    verdicts = asyncio.run(sweep([target], time.monotonic() + seconds, kept, source=source))
    return verdicts[target.id]


def words(verdict: ProbeResult) -> str:
    return f"{verdict.side} {verdict.why}"


def errors(db: MariaDB, source: str = SOURCE) -> dict[str, int]:
    """What the server holds against a host: all errors that block, those of the handshake, and refusals."""
    rows = {row["IP"]: row for row in db.sql("SELECT * FROM performance_schema.host_cache")}
    return {"sum": rows[source]["SUM_CONNECT_ERRORS"], "handshake": rows[source]["COUNT_HANDSHAKE_ERRORS"],
            "blocked": rows[source]["COUNT_HOST_BLOCKED_ERRORS"]}


CLEAN = {"sum": 0, "handshake": 0, "blocked": 0}


@contextlib.contextmanager
def connection(db: MariaDB, source: str = SOURCE) -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.settimeout(PLENTY)
        made.bind((source, 0))
        made.connect((db.address, db.port))
        yield made


def greets(made: socket.socket) -> None:
    assert made.recv(4096)


def quits(made: socket.socket) -> None:
    made.recv(4096)
    made.sendall(packed(b"\1", 1))


def asks_for_tls(made: socket.socket) -> None:
    made.recv(4096)
    made.sendall(packed(struct.pack("<IIB23x", 0x8AA01, 1 << 24, 33), 1))


NAIVE: dict[str, Callable[[socket.socket], None]] = {
    "connect and close": lambda made: None, "greeting and close": greets, "COM_QUIT": quits, "SSLRequest": asks_for_tls}


@pytest.fixture(scope="module")
def strict() -> Iterator[MariaDB]:
    """A server that blocks a host at its first error, and lets app in from anywhere."""
    with mariadb.server(*STRICT, hosts=HOSTS) as db:
        db.sql(OPEN)
        yield db


@pytest.mark.parametrize(("number", "way"), list(enumerate(NAIVE)), ids=list(NAIVE))
def test_the_trap_is_real_each_naive_probe_gets_its_host_blocked(strict: MariaDB, number: int, way: str) -> None:
    source = f"127.0.1.{number + 1}"
    assert words(probe(strict, source=source)) == "up answered"
    with connection(strict, source) as made:
        NAIVE[way](made)
    verdict = eventually(lambda: (seen := probe(strict, source=source)).why == "blocked" and seen)
    assert verdict and (verdict.side, verdict.detail[:4]) == ("far", "1129")
    # And with it everybody who comes from there, replication included.
    with connection(strict, source) as made:
        assert b"is blocked" in made.recv(4096)


def test_127_0_0_1_is_spared_so_tests_from_there_prove_nothing(strict: MariaDB) -> None:
    for _ in range(20):
        with connection(strict, "127.0.0.1") as made:
            greets(made)
    assert words(probe(strict, source="127.0.0.1")) == "up answered"


def test_thousands_of_polite_probes_at_a_limit_of_one_are_never_blocked(strict: MariaDB) -> None:
    before = strict.status("Connections")
    targets = [Target(f"e{number}", strict.address, strict.port) for number in range(100)]
    for _ in range(30):
        verdicts = asyncio.run(sweep(targets, time.monotonic() + PLENTY, PendingProbes(), source=SOURCE))
        assert {words(verdict) for verdict in verdicts.values()} == {"up answered"}
    assert strict.status("Connections") - before >= 3000
    assert errors(strict) == CLEAN
    with contextlib.closing(strict.connect(user="app", password="secret", bind_address=SOURCE)) as app:
        app.ping()


ACCOUNTS = {
    "native": "IDENTIFIED BY 'x'", "ed25519": "IDENTIFIED VIA ed25519 USING PASSWORD('x')",
    "unix socket": "IDENTIFIED VIA unix_socket", "no password": "", "TLS only": "IDENTIFIED BY 'x' REQUIRE SSL",
    "locked": "IDENTIFIED BY 'x' ACCOUNT LOCK", "expired": "IDENTIFIED BY 'x' PASSWORD EXPIRE",
    "either": "IDENTIFIED VIA unix_socket OR ed25519 USING PASSWORD('x')",
}


@pytest.mark.parametrize("how", ACCOUNTS.values(), ids=list(ACCOUNTS))
def test_whatever_account_the_server_pretends_to_look_at(how: str) -> None:
    """An unknown user is treated like one of the accounts, so all of them are of one kind here."""
    with mariadb.server(*STRICT, "--max-password-errors=1", "--plugin-load-add=auth_ed25519", hosts=HOSTS) as db:
        db.sql(*(f"CREATE USER u{number}@'%' {how}" for number in range(40)))
        for _ in range(20):
            assert words(probe(db, source=SOURCE)) == "up answered"
        assert errors(db) == CLEAN


def test_who_lets_anybody_in_is_told_so_and_taken_leave_of() -> None:
    with mariadb.server(*STRICT, hosts=HOSTS) as db:
        db.sql("CREATE USER ''@'%' IDENTIFIED BY 'x'", "CREATE USER `lamp-probe`@'%' IDENTIFIED BY 'x'")
        assert words(probe(db, source=SOURCE)) == "up answered"
        db.sql("CREATE USER ''@'127.0.0.2' IDENTIFIED VIA mysql_native_password USING ''")
        before = db.status("Aborted_connects")
        assert words(probe(db, source=SOURCE)) == "up answered"
        assert (errors(db), db.status("Aborted_connects") - before) == (CLEAN, 1)


def test_the_one_account_that_makes_the_server_count_is_found_out_by_the_first_probe() -> None:
    """A server with secure_auth refuses accounts of before 2003 with an error that it counts, whatever is answered."""
    with mariadb.server("--performance-schema=ON", hosts=HOSTS) as db, contextlib.closing(PendingProbes()) as parked:
        db.sql(*(f"CREATE USER u{n}@'%' IDENTIFIED WITH mysql_old_password USING '{'a' * 16}'" for n in range(40)))
        for _ in range(10):
            assert words(probe(db, parked, source=SOURCE)) == "far counted"
        assert errors(db)["sum"] == 1


def test_too_many_connections_not_allowed_and_the_wrong_server_are_told() -> None:
    with mariadb.server("--max-connections=10", "--version=10.11.99-MariaDB-eu") as db, contextlib.ExitStack() as held:
        assert words(probe(db, source=SOURCE)) == "far not-allowed"
        db.sql(OPEN)
        target = Target("db", db.address, db.port, "-MariaDB-us")
        assert (words(verdict := probe(target, source=SOURCE)), verdict.detail) == (
            "far wrong-server", "10.11.99-MariaDB-eu")
        assert words(probe(Target("db", db.address, db.port, "-MariaDB-eu"), source=SOURCE)) == "up answered"
        for _ in range(10):
            held.enter_context(contextlib.closing(db.connect(user="app", password="secret")))
        # One more is let in to see whether it is an administrator; only then is the server really full.
        assert words(probe(db, source=SOURCE)) == "up answered"
        greets(held.enter_context(connection(db)))
        assert words(probe(db, source=SOURCE)) == "far too-many-connections"


class Line:
    """A database, sshd, and a tunnel to it, in a network of their own."""

    def __init__(self, db: MariaDB, far: Sshd, near: tuple[str, int]) -> None:
        self.db, self.far, self.near = db, far, near
        self.target = Target("t", *near)

    def tunnel(self) -> contextlib.AbstractContextManager[process.Peer]:
        # Nothing ends by itself here: what hangs, hangs until the test is done with it.
        patient = {"ServerAliveInterval": "0", "ExitOnForwardFailure": "yes"}
        return self.far.tunnel(self.near, (self.db.address, self.db.port), patient)

    @property
    def errors(self) -> dict[str, int]:
        """sshd comes from the database's own address."""
        return errors(self.db, self.db.address)


@pytest.fixture
def line() -> Iterator[Line]:
    hosts = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    with network.namespace(*hosts), ssh.server(hosts[1]) as far, \
            mariadb.server(*STRICT, address=hosts[0], hosts=HOSTS) as db:
        db.sql(OPEN)
        yield Line(db, far, (hosts[2], 3306))


@pytest.mark.parametrize("who", ["ssh", "sshd", "mariadbd"])
def test_a_hundred_and_fifty_rounds_of_a_frozen_tunnel_are_one_probe_and_no_error(line: Line, who: str) -> None:
    with line.tunnel() as tunnel, contextlib.closing(PendingProbes()) as parked:
        assert words(probe(line.target, parked)) == "up answered"
        frozen = {"ssh": tunnel, "sshd": line.far.process, "mariadbd": line.db.process}[who]
        connections = line.db.status("Connections")
        frozen.stop()
        for _ in range(150):
            assert words(probe(line.target, parked, SHORT)) == "ambiguous hung"
            assert len(parked) == 1
        frozen.resume()
        # Nobody sees to it between two rounds.
        verdict = eventually(lambda: (seen := probe(line.target, parked)).side == "up" and seen)
        assert verdict and (words(verdict), len(parked)) == ("up answered", 0)
        assert line.db.status("Connections") - connections <= 5  # the parked probe, and those of the test itself
        assert line.errors == CLEAN


def test_the_trap_is_real_probes_that_give_up_become_errors_when_the_tunnel_thaws(line: Line) -> None:
    with line.tunnel() as tunnel:
        assert words(probe(line.target)) == "up answered"
        tunnel.stop()
        for _ in range(3):
            with contextlib.closing(PendingProbes()) as impatient:
                assert words(probe(line.target, impatient, SHORT)) == "ambiguous hung"
        tunnel.resume()
        assert eventually(lambda: probe(line.target).why == "blocked")


def test_what_dies_and_what_comes_back(line: Line) -> None:
    with contextlib.closing(PendingProbes()) as parked:
        with line.tunnel() as tunnel:
            assert words(probe(line.target, parked)) == "up answered"
            line.db.stop()
            # sshd cannot reach the database, and ssh closes.
            assert words(probe(line.target, parked)) == "far closed"
            line.db.start()
            assert words(probe(line.target, parked)) == "up answered"
            tunnel.stop()
            assert words(probe(line.target, parked, SHORT)) == "ambiguous hung"
            tunnel.kill()
            # The connection was in its queue.
            assert words(probe(line.target, parked)) == "local reset"
            assert words(probe(line.target, parked)) == "local refused"
        with line.tunnel():
            assert words(probe(line.target, parked)) == "up answered"
            line.far.process.kill()
            assert eventually(lambda: words(probe(line.target, parked)) == "local refused")
    assert line.errors == CLEAN


def test_a_tunnel_that_leads_elsewhere_is_told(line: Line) -> None:
    with line.far.tunnel(line.near, (line.far.address, line.far.port)):
        verdict = probe(line.target)
        assert (words(verdict), verdict.detail[:8]) == ("far garbage", "SSH-2.0-")


def test_hosts_that_vanish(line: Line) -> None:
    with line.tunnel() as tunnel, contextlib.closing(PendingProbes()) as parked:
        assert words(probe(line.target, parked)) == "up answered"
        network.vanish(line.db.address)
        # ssh and sshd are well and wait for the database's host.
        assert words(probe(line.target, parked, SHORT)) == "ambiguous hung"
        tunnel.kill()
        # ssh had taken the connection already: its end looks as if the far side had closed, for one round.
        assert words(probe(line.target, parked)) == "far closed"
        assert words(probe(line.target, parked)) == "local refused"
        network.vanish(line.near[0])
        assert words(probe(line.target, parked, SHORT)) == "local unanswered"
        assert len(parked) == 0
        network.cut("10.0.0.9")
        assert words(probe(Target("t", "10.0.0.9", 3306), parked)) == "local unreachable"


@pytest.mark.slow
def test_a_parked_probe_notices_that_its_host_is_gone(line: Line) -> None:
    """The kernel asks after the host for six seconds."""
    with line.tunnel() as tunnel, contextlib.closing(PendingProbes()) as parked:
        tunnel.stop()
        assert words(probe(line.target, parked, SHORT)) == "ambiguous hung"
        network.vanish(line.near[0])
        assert eventually(lambda: words(probe(line.target, parked, SHORT)) == "local unreachable")
        assert len(parked) == 0
