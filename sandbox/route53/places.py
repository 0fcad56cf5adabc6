"""The location of an address, from networks with their locations, a table of the twin's user."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sandbox.route53.groups import Location

Address = IPv4Address | IPv6Address
NOWHERE = Location()
# Where the resolver is that TestDNSAnswer asks by if none is named: "in the AWS US East (N. Virginia) Region".
VIRGINIA = Location("NA", "US", "VA")


class Places:
    """The most specific network that holds an address decides. An address in none has no location."""

    def __init__(self, table: Mapping[str, Location]) -> None:
        self._networks: list[tuple[IPv4Network | IPv6Network, Location]] = []
        for text, place in table.items():
            self.add(text, place)

    def add(self, network: str, place: Location) -> None:
        """`network` (as in 203.0.113.0/24) is at `place` from now on. `ValueError` if it is none."""
        # A new list, so that whoever is looking goes on with the old one.
        self._networks = sorted([*self._networks, (ip_network(network), place)], key=lambda entry: -entry[0].prefixlen)

    def of(self, address: str) -> Location:
        """The location of `address`."""
        at = ip_address(address)
        return next((place for network, place in self._networks if at in network), NOWHERE)

    def covering(self, address: str) -> int:
        """The length of the prefix around `address` with one and the same location, the SCOPE of an answer (RFC 7871).
        """
        at = ip_address(address)
        near = [network for network, _ in self._networks if network.version == at.version]
        around = next((network.prefixlen for network in near if at in network), 0)
        # A more specific network may begin beside the address, within the same wider one.
        inside = [_parting(at, network) for network in near if at not in network]
        return max([around, *inside])


def _parting(at: Address, network: IPv4Network | IPv6Network) -> int:
    """The length of the shortest prefix that holds `at` and nothing of `network`."""
    other = int(network.network_address)
    differing = (int(at) ^ other) >> (network.max_prefixlen - network.prefixlen)
    return network.prefixlen - differing.bit_length() + 1
