"""TestDNSAnswer, the name servers' answer, given by the API. Meanings as in the API reference."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import msgspec

from sandbox.route53.errors import invalid
from sandbox.route53.names import lies_in, normal
from sandbox.route53.operations_zones import NAME_SERVERS
from sandbox.route53.records import KINDS, unfit
from sandbox.route53.resolver import Resolver
from sandbox.route53.service import Service, Serving
from sandbox.route53.state import Hosted

# "The default value is 24 bits for IPv4 addresses and 64 bits for IPv6 addresses"; and the most there can be.
_MASKS = {4: (24, 32), 6: (64, 128)}


def test_answer(service: Service, resolver: Resolver, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The answer for `RecordName` in one hosted zone, to a resolver or a client at the addresses that are given.

    It comes from the code of the DNS server itself, by a DNS message and back, over TCP if UDP is too small.
    """
    zone = service.account.zone(asked["HostedZoneId"])
    query = _query(zone, asked).to_wire()
    client = str(_address(asked, "ResolverIP") or "")

    def serving(name: str) -> Serving | None:
        found = service.served(zone)
        return found if service.settings.tool_sees_health else msgspec.structs.replace(
            found, healthy=dict.fromkeys(found.healthy, True))

    response, udp = _asked(resolver.respond(query, client, serving=serving)), True
    if response.flags & dns.flags.TC:
        response, udp = _asked(resolver.respond(query, client, udp=False, serving=serving)), False
    return {"Nameserver": NAME_SERVERS[0].rstrip("."), "RecordName": asked["RecordName"],
            "RecordType": asked["RecordType"], "RecordData": [data.to_text() for rrset in response.answer
                                                              for data in rrset],
            "ResponseCode": dns.rcode.to_text(response.rcode()), "Protocol": "UDP" if udp else "TCP"}


def _query(zone: Hosted, asked: Mapping[str, Any]) -> dns.message.Message:
    name, kind = normal(asked["RecordName"]), asked["RecordType"]
    if why := unfit(name):
        raise invalid(f"{asked['RecordName']} is no domain name: {why}")
    if not lies_in(name, zone.name):
        raise invalid(f"{name} does not lie within the hosted zone {zone.name}")
    if kind not in KINDS:
        raise invalid(f"RecordType {kind!r} is not one that this twin knows.")
    subnet = _address(asked, "EDNS0ClientSubnetIP")
    if subnet is None and "EDNS0ClientSubnetMask" in asked:
        raise invalid("EDNS0ClientSubnetMask needs EDNS0ClientSubnetIP.")
    options: list[dns.edns.Option] = [dns.edns.ECSOption(str(subnet), _mask(subnet.version, asked))] if subnet else []
    return dns.message.make_query(name, kind, use_edns=0, options=options)


def _address(asked: Mapping[str, Any], key: str) -> Any:
    if key not in asked:
        return None
    try:
        return ip_address(asked[key])
    except ValueError:
        raise invalid(f"{key} {asked[key]!r} is not an IP address.") from None


def _mask(version: int, asked: Mapping[str, Any]) -> int:
    usual, most = _MASKS[version]
    text = str(asked.get("EDNS0ClientSubnetMask", usual))
    if not text.isascii() or not text.isdigit() or int(text) > most:
        raise invalid(f"EDNS0ClientSubnetMask {text!r} is not between 0 and {most}.")
    return int(text)


def _asked(data: bytes | None) -> dns.message.Message:
    if data is None:
        raise AssertionError("a query always has an answer")
    return dns.message.from_wire(data)
