"""Connections through the sandbox's balancers: who keeps them when a target drains or is unhealthy, and until when."""

import json
from collections.abc import Iterator

import pytest

from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.world.hosts import add_image, disk, launch
from tests.world.sites import HOME, Site, ask, cut

pytestmark = pytest.mark.world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with an image of web servers, fifty times as fast as AWS."""
    with Sandbox.start() as made:
        add_image(made, tmp_path_factory.mktemp("image"))
        made.pace(50)
        yield made


@pytest.mark.parametrize("terminate", [True, False])
def test_a_draining_target_gets_nothing_new_and_keeps_its_connections_until_they_are_cut_or_not(
    world: Sandbox, terminate: bool
) -> None:
    site, ids = Site(world, f"drain-{terminate}".lower()), launch(world, HOME, 2)
    site.adjust(deregistration_delay__timeout_seconds="100",
             deregistration_delay__connection_termination__enabled=json.dumps(terminate))
    site.register(*ids)
    for one in ids:
        site.becomes(one, "healthy")
    plug, one = site.connect()
    site.deregister(one)
    assert site.health()[one] == ("draining", "Target.DeregistrationInProgress")
    assert eventually(lambda: site.answering() == set(ids) - {one}) and ask(plug) == one
    eventually(lambda: one not in site.health())
    assert site.health(one)[one] == ("unused", "Target.NotRegistered")
    if terminate:
        eventually(lambda: cut(plug))
    else:
        assert ask(plug) == one
    plug.close()


def test_with_no_delay_and_termination_connections_are_cut_at_once(world: Sandbox) -> None:
    site, ids = Site(world, "cut"), launch(world, HOME, 2)
    site.adjust(deregistration_delay__timeout_seconds="0", deregistration_delay__connection_termination__enabled="true")
    site.register(*ids)
    for one in ids:
        site.becomes(one, "healthy")
    plug, one = site.connect()
    world.hang(one, "web")
    site.deregister(one)
    assert one not in site.health()
    plug.settimeout(5)
    with pytest.raises(ConnectionResetError):
        plug.recv(1)
    world.thaw(one, "web")
    plug.close()


def test_registering_again_ends_draining(world: Sandbox) -> None:
    site, ids = Site(world, "again"), launch(world, HOME, 2)
    site.adjust(deregistration_delay__timeout_seconds="3600")
    site.register(*ids)
    site.becomes(ids[0], "healthy")
    site.deregister(ids[0])
    assert site.health()[ids[0]][0] == "draining"
    site.register(ids[0])
    site.becomes(ids[0], "healthy")


@pytest.mark.parametrize("enabled", [True, False])
def test_connections_to_an_unhealthy_target_are_cut_unless_the_group_says_otherwise(
    world: Sandbox, enabled: bool
) -> None:
    site, ids = Site(world, f"sick-{enabled}".lower()), launch(world, HOME, 2)
    site.adjust(target_health_state__unhealthy__connection_termination__enabled=json.dumps(enabled))
    site.register(*ids)
    for one in ids:
        site.becomes(one, "healthy")
    plug, one = site.connect()
    (disk(world, HOME, one) / "health").write_text("500")
    site.becomes(one, "unhealthy")
    if enabled:
        eventually(lambda: cut(plug))
    else:
        assert ask(plug) == one
    plug.close()
