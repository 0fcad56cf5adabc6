"""Nothing of the hypervisor is left when its world ends, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox import processes
from sandbox.server import ROOT
from sandbox.world import Sandbox
from testing.eventually import SECONDS, eventually
from tests.world.hosts import add_image, address, get, launch
from tests.world.sites import Site

pytestmark = pytest.mark.world
HOME = "eu-west-1"

# A world with a host behind a balancer, whose second service makes an orphan that has dropped its mark.
STARTED = """
import sys
from pathlib import Path
from sandbox.world import Sandbox
from tests.world.hosts import add_image, address, launch
from tests.world.sites import Site
with Sandbox.start() as world:
    orphan = "env -i setsid sh -c 'echo $$ > orphan; exec sleep 1000' & exec sleep 1000"
    add_image(world, Path(sys.argv[1]), orphan=orphan)
    site, one = Site(world, "end"), launch(world, "eu-west-1")[0]
    site.register(one)
    site.becomes(one, "healthy")
    print(world.state.pid, world.state.mark, address(world, "eu-west-1", one), flush=True)
    sys.stdin.read()
"""


@contextmanager
def parent(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", int, str, str]]:
    """A process that runs such a world: the process, the server's pid, the world's mark, the host's address."""
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED, str(folder)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout
        pid, mark, where = process.stdout.readline().split()
        yield process, int(pid), mark, where
        process.kill()


def family(server: int) -> set[int]:
    """All that descends from the server, with or without a mark."""
    return processes._with_descendants({server}, processes._family())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_parent_ends(tmp_path: Path, number: signal.Signals) -> None:
    with parent(tmp_path) as (process, server, mark, where):
        home = Path(f"/proc/{get(where, '/pid')}/cwd").resolve()
        eventually((home / "orphan").exists)
        everything = family(server)
        assert int((home / "orphan").read_text()) in everything and len(everything) >= 6
        process.send_signal(number)
        process.wait(SECONDS)
        eventually(lambda: not processes.marked(mark) and not [one for one in everything if alive(one)])
        assert not home.exists() and get(where) == ""


def test_nothing_is_left_when_the_server_is_killed(tmp_path: Path) -> None:
    with parent(tmp_path) as (process, server, mark, where):
        home = Path(f"/proc/{get(where, '/pid')}/cwd").resolve()
        eventually((home / "orphan").exists)
        everything = family(server)
        os.kill(server, signal.SIGKILL)
        # Its supervisors see it go, even if the process that started the world never looks.
        eventually(lambda: not processes.marked(mark) and not [one for one in everything if alive(one)])
        assert get(where) == "" and process.poll() is None
        process.send_signal(signal.SIGINT)  # and this one takes the folder away
        process.wait(SECONDS)
        assert not home.exists()


def alive(number: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_power_cut_takes_orphans_along_and_leaves_other_instances_alone(tmp_path: Path) -> None:
    with Sandbox.start() as world:
        add_image(world, tmp_path, orphan="env -i setsid sh -c 'echo $$ > orphan; exec sleep 1000' & exec sleep 1000")
        cut, spared = launch(world, HOME, 2)
        pids = []
        for one in (cut, spared):
            home = Path(f"/proc/{get(address(world, HOME, one), '/pid')}/cwd").resolve()
            eventually((home / "orphan").exists)
            pids.append(int((home / "orphan").read_text()))
        world.power_off(cut)
        eventually(lambda: not alive(pids[0]))
        assert alive(pids[1]) and get(address(world, HOME, spared)) == spared


def test_an_instance_whose_first_process_dies_boots_again_with_nothing_left_of_before(tmp_path: Path) -> None:
    with Sandbox.start() as world:
        add_image(world, tmp_path)
        one = launch(world, HOME)[0]
        where, mark = address(world, HOME, one), f"{world.state.mark}/{HOME}/{one}/"
        web = int(get(where, "/pid"))
        supervisor = min(processes.marked(mark) - processes.marked(f"{mark}web/"))
        os.kill(supervisor, signal.SIGKILL)
        eventually(lambda: get(where, "/pid") not in ("", str(web)))
        assert not alive(web) and not alive(supervisor)


def test_a_stack_of_sites_is_gone_with_its_region(tmp_path: Path) -> None:
    with Sandbox.start() as world:
        add_image(world, tmp_path)
        site, one = Site(world, "gone"), launch(world, HOME)[0]
        site.register(one)
        site.becomes(one, "healthy")
        everything = family(world.state.pid) - {world.state.pid}
        world.stop_region(HOME)
        eventually(lambda: not [number for number in everything if alive(number)])
