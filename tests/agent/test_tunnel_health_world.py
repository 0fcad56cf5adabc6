"""The health port in front of a real tunnel to a real database."""

import re

import pytest

from testing.eventually import eventually
from testing.servers import health, mariadb, network, process, ssh

pytestmark = pytest.mark.world
process.need(*mariadb.PROGRAMS, *ssh.PROGRAMS, "ip", root=True)


def hangs(near: ssh.Place) -> bool:
    """Whether it says so; `mute` if a probe was just in conversation."""
    status, text = health.ask(near)
    return status == 503 and re.fullmatch(r"ambiguous (hung|mute .*) for \d+ s", text) is not None


def test_what_a_balancer_is_told_while_a_tunnel_hangs_dies_and_comes_back() -> None:
    options = ("--max-connect-errors=1", "--performance-schema=ON")
    tunnel, near = ("10.0.0.3", 3306), ("10.0.0.3", 3307)
    patient = {"ServerAliveInterval": "0", "ExitOnForwardFailure": "yes"}
    with network.namespace("10.0.0.1", "10.0.0.2", "10.0.0.3"), ssh.server("10.0.0.2") as far, \
            mariadb.server(*options, address="10.0.0.1", hosts="10.0.0.1 far.test\n") as db, \
            health.port(near, tunnel, "--every", "0.1", "--fresh", "0.5"):
        db.sql("CREATE USER app@'%' IDENTIFIED BY 'secret'")
        place = (db.address, db.port)
        assert eventually(lambda: health.ask(near)[1] == "local refused")
        with far.tunnel(tunnel, place, patient) as client:
            eventually(lambda: health.ask(near)[0] == 200)
            client.stop()
            eventually(lambda: hangs(near))
            client.resume()
            eventually(lambda: health.ask(near)[0] == 200)
            db.process.stop()
            eventually(lambda: hangs(near))
            db.process.resume()
            eventually(lambda: health.ask(near)[0] == 200)
            # What thaws is answered; a tunnel that is killed in the middle of a probe would leave one error.
            row = db.sql("SELECT * FROM performance_schema.host_cache")[0]
            assert (row["SUM_CONNECT_ERRORS"], row["COUNT_HANDSHAKE_ERRORS"]) == (0, 0)
            db.stop()
            eventually(lambda: health.ask(near) == (503, "far closed"))
            db.start()
            eventually(lambda: health.ask(near)[0] == 200)
        eventually(lambda: health.ask(near) == (503, "local refused"))
