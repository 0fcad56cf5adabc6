"""Fleets with tunnel hosts, for tests: a primary's region and two others."""

from chalicelib.config import fleet
from chalicelib.config.declared import Fleet
from chalicelib.config.tunnel_hosts import Hosts
from chalicelib.config.tunnels import Tunnels

PRIMARY, NEAR, FAR = "us-east-1", "eu-west-1", "ap-southeast-1"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
TEXT = f"""
name = "f"
coordination = {{ regions = ["eu-west-1"] }}
[[regions]]
name = "{PRIMARY}"
[[regions]]
name = "{NEAR}"
[[regions]]
name = "{FAR}"
[tunnels]
primary = "{PRIMARY}"
[tunnels.hosts]
gateway = "gw.example.com"
host_keys = ["{HOST_KEY} root@gw"]
database = "db.internal"
[[tunnels.hosts.regions]]
name = "{NEAR}"
vpc = "vpc-0123456789abcdef0"
subnets = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
clients = ["10.1.0.0/16", "10.2.0.0/16"]
[[tunnels.hosts.regions]]
name = "{FAR}"
vpc = "vpc-0123456789abcdef2"
subnets = ["subnet-0123456789abcdef2"]
gateway = "10.9.8.7"
"""
# The same, with a way to the primary should it ever be in another region.
WAYS = TEXT + f"""
[[tunnels.hosts.ways]]
region = "{FAR}"
gateway = "10.3.0.9"
gateway_port = 2222
host_keys = ["{HOST_KEY} root@ap"]
database = "db.ap"
"""


def parsed(text: str = TEXT) -> tuple[Fleet, Tunnels, Hosts]:
    """The fleet, its tunnels and their hosts."""
    found = fleet.parse(text)
    assert found.tunnels and found.tunnels.hosts
    return found, found.tunnels, found.tunnels.hosts
