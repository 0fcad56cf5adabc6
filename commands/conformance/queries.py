"""Asks the questions of the conformance check and compares the answers."""

import itertools
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import dns.edns
import dns.exception
import dns.message
import dns.query
import dns.rcode
import msgspec

from commands.conformance.cases import NOTHING, TABLE, Case, full_name
from commands.conformance.zone import Place
from commands.errors import UsageError

# How long Route 53 may take until all its servers know the records and the checks' statuses.
_SETTLE_SECONDS = 180
# Servers learn one after another: what disagrees is asked again, so much later.
_AGAIN_SECONDS = (15, 45)
_SERVER_SECONDS = 3.0
_NAMES = {address: name for name, address in TABLE.values.items()}

# From the name of a group and that of a client to the answer: a name of a value, NOTHING, or an error's code.
Ask = Callable[[str, str], str]


class Result(msgspec.Struct, frozen=True):
    """A case and the count of each answer that it got. `again` is the number of the repetition."""

    case: Case
    got: Mapping[str, int]
    again: int = 0

    @property
    def agrees(self) -> bool:
        """Whether the answers are as expected."""
        return self.got.keys() <= self.case.expected.keys() and all(
            least <= self.got.get(name, 0) <= most for name, (least, most) in self.case.expected.items())


def by_tool(place: Place) -> Ask:
    """TestDNSAnswer. The resolver's address is the client's, whichever of the two Route 53 looks at."""

    def ask(group: str, client: str) -> str:
        address = TABLE.clients[client]
        found = place.client.test_dns_answer(HostedZoneId=place.zone, RecordName=full_name(group, place.hostname),
                                             RecordType="A", ResolverIP=address, EDNS0ClientSubnetIP=address)
        return _answer(found["ResponseCode"], found["RecordData"])

    return ask


def by_servers(place: Place) -> Ask:
    """The zone's own name servers in turn, by DNS with the client's subnet (RFC 7871)."""
    turn = itertools.cycle(servers(place))

    def ask(group: str, client: str) -> str:
        host, port = next(turn)
        query = dns.message.make_query(full_name(group, place.hostname), "A", use_edns=0,
                                       options=[dns.edns.ECSOption(TABLE.clients[client], 24)])
        try:
            response = dns.query.udp(query, host, _SERVER_SECONDS, port)
        except (dns.exception.DNSException, OSError) as error:
            return f"no answer from {host} ({type(error).__name__})"
        return _answer(dns.rcode.to_text(response.rcode()),
                       [data.to_text() for rrset in response.answer for data in rrset])

    return ask


def servers(place: Place) -> Sequence[tuple[str, int]]:
    """Address and port of each name server of the zone."""
    try:
        return [(socket.gethostbyname(name), 53) for name in place.name_servers]
    except OSError as error:
        raise UsageError(f"the name servers of {place.zone} ({', '.join(place.name_servers)}) have no addresses "
                         f"({error})") from None


def _answer(code: str, values: Sequence[str]) -> str:
    if code != "NOERROR":
        return code
    return " ".join(sorted(_NAMES.get(value, value) for value in values)) or NOTHING


def settled(place: Place, ask: Ask) -> bool:
    """Waits until every check has the status that it should have, for as long as Route 53 may take for that."""
    return place.until(lambda: all(judge(case, ask).agrees for case in TABLE.statuses), _SETTLE_SECONDS)


def results(place: Place, ask: Ask) -> list[Result]:
    """All cases, those that disagree asked again twice."""
    found = [judge(case, ask) for case in TABLE.cases]
    for again, seconds in enumerate(_AGAIN_SECONDS, 1):
        if not all(result.agrees for result in found):
            place.wait(seconds)
            found = [result if result.agrees else judge(result.case, ask, again) for result in found]
    return found


def judge(case: Case, ask: Ask, again: int = 0) -> Result:
    """Asks so many times as the case says."""
    return Result(case, Counter(ask(case.group, case.client) for _ in range(case.times)), again)
