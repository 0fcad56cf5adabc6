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

from commands.conformance.cases import CASES, CLIENTS, NOTHING, STATUSES, VALUES, Case, full_name
from commands.conformance.client import Calls
from commands.conformance.zone import Place
from commands.errors import UsageError

# How long Route 53 may take until all its servers know the checks' statuses, and how often it is asked meanwhile.
SETTLE_SECONDS = 180
_LOOK_SECONDS = 5
# Servers learn one after another: what disagrees is asked again, so much later.
AGAIN_SECONDS = (15, 45)
_SERVER_SECONDS = 3.0
_NAMES = {address: name for name, address in VALUES.items()}

# From the name of a group and the address of a client to the answer: a name of VALUES, NOTHING, or an error's code.
Ask = Callable[[str, str], str]


class Result(Case, frozen=True, kw_only=True):
    """A case and the count of each answer that it got. `again` is the number of the repetition."""

    got: Mapping[str, int]
    again: int = 0

    @property
    def agrees(self) -> bool:
        """Whether the answers are as expected."""
        return self.got.keys() <= self.expected.keys() and all(
            least <= self.got.get(name, 0) <= most for name, (least, most) in self.expected.items())


def by_tool(calls: Calls, place: Place) -> Ask:
    """TestDNSAnswer. The resolver's address is the client's, whichever of the two Route 53 looks at."""

    def ask(group: str, client: str) -> str:
        found = calls.route53.test_dns_answer(HostedZoneId=place.zone, RecordName=full_name(group, place.hostname),
                           RecordType="A", ResolverIP=client, EDNS0ClientSubnetIP=client)
        return _told(found["ResponseCode"], found["RecordData"])

    return ask


def by_servers(calls: Calls, place: Place) -> Ask:
    """The zone's own name servers in turn, by DNS with the client's subnet (RFC 7871)."""
    turn = itertools.cycle(servers(calls, place))

    def ask(group: str, client: str) -> str:
        host, port = next(turn)
        query = dns.message.make_query(full_name(group, place.hostname), "A", use_edns=0,
                                       options=[dns.edns.ECSOption(client, 24)])
        try:
            response = dns.query.udp(query, host, _SERVER_SECONDS, port)
        except (dns.exception.DNSException, OSError) as error:
            return f"no answer from {host} ({type(error).__name__})"
        return _told(dns.rcode.to_text(response.rcode()),
                     [data.to_text() for rrset in response.answer for data in rrset])

    return ask


def servers(calls: Calls, place: Place) -> Sequence[tuple[str, int]]:
    """Address and port of each name server of the zone."""
    names = calls.route53.get_hosted_zone(Id=place.zone).get("DelegationSet", {}).get("NameServers", [])
    try:
        return [(socket.gethostbyname(name), 53) for name in names]
    except OSError as error:
        raise UsageError(
            f"the name servers of {place.zone} ({', '.join(names)}) have no addresses ({error})"
        ) from None


def _told(code: str, values: Sequence[str]) -> str:
    if code != "NOERROR":
        return code
    return " ".join(sorted(_NAMES.get(value, value) for value in values)) or NOTHING


def settled(calls: Calls, ask: Ask) -> bool:
    """Waits until every check has the status that it should have. False if some have not after `SETTLE_SECONDS`."""
    until = calls.pace.now() + SETTLE_SECONDS
    while not all(_judged(case, ask).agrees for case in STATUSES):
        if calls.pace.now() > until:
            return False
        calls.pace.sleep(_LOOK_SECONDS)
    return True


def results(calls: Calls, ask: Ask) -> list[Result]:
    """All cases, those that disagree asked again twice."""
    cases = (*STATUSES, *CASES)
    found = [_judged(case, ask) for case in cases]
    for again, wait in enumerate(AGAIN_SECONDS, 1):
        if not all(result.agrees for result in found):
            calls.pace.sleep(wait)
            found = [result if result.agrees else _judged(case, ask, again)
                     for case, result in zip(cases, found, strict=True)]
    return found


def _judged(case: Case, ask: Ask, again: int = 0) -> Result:
    got = Counter(ask(case.group, CLIENTS[case.client]) for _ in range(case.times))
    return Result(**msgspec.structs.asdict(case), got=dict(got), again=again)
