"""A DNS message for a DNS message, as the name servers of all hosted zones together would answer. No sockets.

RFC 1035 (messages), RFC 2308 (the SOA record set in negative answers), RFC 6891 (EDNS), RFC 7871 (client subnet).
Answers are "authoritative". A name that lies in no hosted zone is REFUSED. The names in brackets are rows of
docs/route53-twin.md.
"""

import random
from collections.abc import Callable, Collection, Mapping

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from sandbox.route53.answers import Answer, AnswerError, Location, Query
from sandbox.route53.names import lies_in, normal
from sandbox.route53.operations_zones import plain
from sandbox.route53.places import NOWHERE, VIRGINIA, Places
from sandbox.route53.service import Service, Serving

# From a place to the milliseconds that it is away from each AWS region.
Latency = Callable[[Location], Mapping[str, float]]
# From a name to the hosted zone that answers for it.
Holding = Callable[[str], Serving | None]

# A name server may stop following CNAMEs anywhere: the resolver asks on.
CNAMES_MOST = 8
UDP_BYTES = 1232
_HEADER_BYTES = 12


class Resolver:
    """Answers for all zones of a service, by where the client is and what is healthy now."""

    def __init__(self, service: Service, places: Places, draw: Callable[[], float] = random.random,
                 latency: Latency = lambda place: {}) -> None:
        self._service, self._places, self._draw, self._latency = service, places, draw, latency

    def respond(self, data: bytes, client: str, *, udp: bool = True, serving: Holding | None = None) -> bytes | None:
        """The answer to the message `data` that came from the address `client`. None where silence is due.

        Without an address it comes from a resolver in N. Virginia, as TestDNSAnswer has it. `serving` says which hosted
        zone answers for a name. By default the one with the longest name that holds it.
        """
        try:
            query = dns.message.from_wire(data, ignore_trailing=False)
        except (dns.exception.DNSException, ValueError):
            return _formerr(data)
        if query.flags & dns.flags.QR:
            return None
        response = dns.message.make_response(query, our_payload=UDP_BYTES)
        response.flags |= dns.flags.AA
        response.flags &= ~dns.flags.RA
        self._fill(query, response, client, serving or self._service.serving)
        return _packed(query, response, udp)

    def _fill(self, query: dns.message.Message, response: dns.message.Message, client: str, holding: Holding) -> None:
        if query.opcode() != dns.opcode.QUERY:
            response.set_rcode(dns.rcode.NOTIMP)
            return
        if query.edns > 0:
            response.set_rcode(dns.rcode.BADVERS)
            return
        if len(query.question) != 1:
            response.set_rcode(dns.rcode.FORMERR)
            return
        subnet = next((option for option in query.options if isinstance(option, dns.edns.ECSOption)), None)
        if subnet is not None:
            # RFC 7871: a SOURCE of 0 asks not to be told apart; a SCOPE longer than the SOURCE says that a longer one
            # would have been of use.
            client = subnet.address if subnet.srclen else client
            scope = self._places.covering(client) if subnet.srclen else 0
            told = dns.edns.ECSOption(subnet.address, subnet.srclen, scope)
            response.use_edns(0, payload=UDP_BYTES, options=[told])
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        try:
            self._answer(response, question.name, kind, client, holding)
        except (AnswerError, dns.exception.DNSException):
            # Record sets that cannot be evaluated, or values that are not of their type.
            response.answer.clear()
            response.authority.clear()
            response.set_rcode(dns.rcode.SERVFAIL)

    def _answer(self, response: dns.message.Message, asked: dns.name.Name, kind: str, client: str,
                holding: Holding) -> None:
        serving = holding(_text(asked))
        if response.question[0].rdclass != dns.rdataclass.IN or serving is None:
            response.set_rcode(dns.rcode.REFUSED)
            response.flags &= ~dns.flags.AA
            return
        at = self._places.of(client) if client else VIRGINIA
        query = Query(at, serving.healthy, self._latency(at), self._draw)
        name = asked
        for _ in range(CNAMES_MOST):
            found = serving.zone.answer(_text(name), kind, query)
            values = _values(found, serving)
            if not values:
                response.set_rcode(dns.rcode.NOERROR if found.exists else dns.rcode.NXDOMAIN)
                _negative(response, serving)
                return
            response.answer.append(_rrset(name, found.ttl, found.type, values))
            if found.type != "CNAME" or kind == "CNAME":
                return
            name = dns.name.from_text(values[0])
            if not lies_in(_text(name), serving.name):
                return


def _values(found: Answer, serving: Serving) -> list[str]:
    """What is answered. The addresses of a load balancer stand in for its name (R7)."""
    if not found.outside:
        return list(found.values)
    resource = serving.resources.get(plain(found.outside))
    version = {"A": ".", "AAAA": ":"}.get(found.type, " ")
    return [address for address in (resource.addresses if resource else ()) if version in address]


def _negative(response: dns.message.Message, serving: Serving) -> None:
    soa = serving.zone.answer(serving.name, "SOA", Query(NOWHERE, {}))
    if soa.values:
        response.authority.append(_rrset(dns.name.from_text(serving.name), soa.ttl, "SOA", soa.values))


def _rrset(name: dns.name.Name, ttl: int, kind: str, values: Collection[str]) -> dns.rrset.RRset:
    # In the API's values a name without a dot at its end is complete all the same.
    return dns.rrset.from_text_list(name, ttl, "IN", kind, values, origin=dns.name.root, relativize=False)


def _text(name: dns.name.Name) -> str:
    return normal(name.to_text())


def _formerr(data: bytes) -> bytes | None:
    """FORMERR for what is no message, as far as it has a header to answer to. Silence for answers."""
    if len(data) < _HEADER_BYTES or data[2] & 0x80:
        return None
    # Same id, QR set, same opcode and RD, nothing else; no sections.
    return data[:2] + bytes([0x80 | data[2] & 0x79, dns.rcode.FORMERR]) + bytes(8)


def _packed(query: dns.message.Message, response: dns.message.Message, udp: bool) -> bytes:
    """Over UDP only as much as the client accepts, truncated beyond, so that it asks again over TCP."""
    room = max(512, min(query.payload, UDP_BYTES)) if udp else 65_535
    try:
        return response.to_wire(max_size=room)
    except dns.exception.TooBig:
        response.answer.clear()
        response.authority.clear()
        response.flags |= dns.flags.TC
        return response.to_wire(max_size=room)
