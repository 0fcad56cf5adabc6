"""What can be wrong with `[tunnels.hosts]`, each with its line and its remedy."""

import pytest

from chalicelib.config import fleet
from tests.tunnels.fleets import HOST_KEY, NEAR, PRIMARY, TEXT, parsed


@pytest.mark.parametrize(("old", "new", "said"), [
    (f'host_keys = ["{HOST_KEY} root@gw"]', "host_keys = []", "tunnels.hosts.host_keys: expected `array` of length"),
    (HOST_KEY, HOST_KEY[:72], "tunnels.hosts.host_keys: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq' is incomplete"),
    (HOST_KEY, "-----BEGIN", "tunnels.hosts.host_keys: '-----BEGIN root@gw' is no public key of a host"),
    (HOST_KEY, HOST_KEY.replace("ssh-ed25519", "ssh-rsa"), "tunnels.hosts.host_keys: 'ssh-rsa AAAA"),
    ("db.internal", "-oProxyCommand=evil", "tunnels.hosts.database: expected `str` matching regex"),
    ("gw.example.com", "gw; reboot", "tunnels.hosts.gateway: expected `str` matching regex"),
    ("10.2.0.0/16", "10.2.0.1/16", "tunnels.hosts.regions.0.clients: '10.2.0.1/16' is no network"),
    ("10.2.0.0/16", "all", "tunnels.hosts.regions.0.clients: 'all' is no network"),
    ("vpc-0123456789abcdef0", "default", "tunnels.hosts.regions.0.vpc: expected `str` matching regex"),
    ("[tunnels.hosts]", 'group = "mine"\n[tunnels.hosts]', "tunnels.group: names what is there already"),
    ("[tunnels.hosts]", 'document = "mine"\n[tunnels.hosts]', "tunnels.document: names what is there already"),
])
def test_a_mistake_is_named(old: str, new: str, said: str) -> None:
    with pytest.raises(fleet.FleetError, match=r"^fleet.toml:\d+: tunnels") as caught:
        fleet.parse(TEXT.replace(old, new, 1))
    assert said in str(caught.value)


def test_every_region_but_the_primaries_has_exactly_one_place() -> None:
    place = f'[[tunnels.hosts.regions]]\nname = "{NEAR}"\nvpc = "vpc-01234567"\nsubnets = ["subnet-01234567"]\n'
    for text, said in (
            (TEXT + place, "'eu-west-1' is there twice"),
            (TEXT + place.replace(NEAR, PRIMARY), "is the primary's region, which needs no tunnels"),
            (TEXT + place.replace(NEAR, "sa-east-1"), "'sa-east-1' is no region of this fleet"),
            (TEXT.rpartition("[[tunnels.hosts")[0], "'ap-southeast-1' has no place for its tunnel hosts")):
        with pytest.raises(fleet.FleetError, match=r"tunnels\.hosts\.regions") as caught:
            fleet.parse(text)
        assert said in str(caught.value)


def test_a_good_one_is_good() -> None:
    _, tunnels, hosts = parsed()
    place = hosts.place(NEAR)
    assert place and place.clients == ("10.1.0.0/16", "10.2.0.0/16") and hosts.place(PRIMARY) is None
    assert (tunnels.slots, hosts.gateway_port, hosts.gateway_user, hosts.machine) == (2, 22, "tunnel", "arm64")
