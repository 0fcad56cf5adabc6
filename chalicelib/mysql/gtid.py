"""The transactions of a server by their global ids, with parsing, comparison and formatting. Pure.

MySQL's sets are `uuid:1-5:7`, since 8.3 also `uuid:tag:1-5` ("GTID Format and Storage" in its reference manual).
MariaDB's positions are `domain-server-sequence`, one for each domain, in which sequence numbers rise whichever server
writes. Its `gtid_binlog_state` has one for each server, too ("Global Transaction ID" in its documentation). Both become
ranges of numbers by origin, which is the uuid (and tag), or `domain-server`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

Engine = Literal["mariadb", "mysql"]
Range = tuple[int, int]
Ranges = tuple[Range, ...]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_RANGE = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?")
_TRIPLE = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,20})")


class GtidSet(msgspec.Struct, frozen=True):
    """Transactions as ranges by origin, from the first to the last, both included.

    `heads` is the highest number in each of MariaDB's domains. A server made from a copy has the earlier ones, although
    its binary log never saw the server that wrote them.
    """

    ranges: dict[str, Ranges] = {}
    heads: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __str__(self) -> str:
        return ",".join(f"{origin}:{':'.join(map(_words, ranges))}" if not self.heads else
                        ",".join(f"{origin}-{_words(one, '..')}" for one in ranges)
                        for origin, ranges in sorted(self.ranges.items()))

    @property
    def count(self) -> int:
        """How many transactions these are. Of MariaDB's, the most that they can be."""
        return sum(last - first + 1 for ranges in self.ranges.values() for first, last in ranges)


def read(engine: Engine, *texts: str) -> GtidSet:
    """All that any of `texts` names, as the servers print it. `ValueError` if that is not how they do."""
    both = GtidSet()
    for text in texts:
        both = union(both, _mariadb(text) if engine == "mariadb" else _mysql(text))
    return both


def union(one: GtidSet, other: GtidSet) -> GtidSet:
    """What either has."""
    ranges = {origin: _joined((*one.ranges.get(origin, ()), *other.ranges.get(origin, ())))
              for origin in one.ranges.keys() | other.ranges.keys()}
    heads = {domain: max(one.heads.get(domain, 0), other.heads.get(domain, 0))
             for domain in one.heads.keys() | other.heads.keys()}
    return GtidSet(ranges, heads)


def subtract(one: GtidSet, other: GtidSet) -> GtidSet:
    """The transactions of `other` that `one` lacks."""
    ranges = {origin: rest for origin, there in other.ranges.items()
              if (rest := tuple(_without(there, _known(one, origin))))}
    return GtidSet(ranges, {origin.partition("-")[0]: ranges[origin][-1][1] for origin in ranges}
                   if other.heads else {})


def is_subset(one: GtidSet, other: GtidSet) -> bool:
    """Whether `one` has all that `other` has."""
    return not subtract(one, other)


def diverged(primary: GtidSet, server_id: str, replica: GtidSet) -> GtidSet:
    """Of MariaDB's the transactions of a replica by which it is of another history than the primary `server_id`.

    A primary gets no transactions of others any more, so a replica cannot have such ones that the primary lacks. If it
    has, equal numbers of their domain are not equal transactions. Then `subtract` may miss what the replica lacks. The
    sets of MySQL always tell.
    """
    ranges = {}
    for origin, rest in subtract(primary, replica).ranges.items():
        domain, _, server = origin.partition("-")
        if domain in primary.heads and server != server_id:
            ranges[origin] = rest
    return GtidSet(ranges, {origin.partition("-")[0]: rest[-1][1] for origin, rest in ranges.items()})


def most_advanced(candidates: Mapping[str, GtidSet]) -> list[str]:
    """The servers that have all transactions of every other one. There is none if two servers each lack some of the
    other's."""
    return [name for name, gtids in candidates.items()
            if all(is_subset(gtids, other) for other in candidates.values())]


def _known(gtids: GtidSet, origin: str) -> Ranges:
    if origin in gtids.ranges or not gtids.heads:
        return gtids.ranges.get(origin, ())
    head = gtids.heads.get(origin.partition("-")[0], 0)
    return ((1, head),) if head else ()


def _mariadb(text: str) -> GtidSet:
    ranges: dict[str, Ranges] = {}
    heads: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _TRIPLE.fullmatch(part)
        if not match:
            raise ValueError(f"{part[:80]!r} is no GTID of MariaDB. They look like 0-1-105")
        domain, server, number = match[1], match[2], int(match[3])
        if number:
            origin = f"{domain}-{server}"
            ranges[origin] = _joined((*ranges.get(origin, ()), (1, number)))
            heads[domain] = max(heads.get(domain, 0), number)
    return GtidSet(ranges, heads)


def _mysql(text: str) -> GtidSet:
    found: dict[str, list[Range]] = {}
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        uuid, *rest = (piece.strip() for piece in part.split(":"))
        if not _UUID.fullmatch(uuid) or not rest:
            raise ValueError(f"{part[:80]!r} is no set of MySQL's GTIDs. They look like uuid:1-5:7")
        for origin, one in _intervals(uuid, rest):
            found.setdefault(origin, []).append(one)
    return GtidSet({origin: _joined(ranges) for origin, ranges in found.items()})


def _intervals(uuid: str, pieces: Iterable[str]) -> Iterator[tuple[str, Range]]:
    origin = uuid
    for piece in pieces:
        match = _RANGE.fullmatch(piece)
        if match:
            first, last = int(match[1]), int(match[2] or match[1])
            if not 1 <= first <= last:
                raise ValueError(f"{piece!r} is no range of numbers from 1")
            yield origin, (first, last)
        elif _TAG.fullmatch(piece):
            origin = f"{uuid}:{piece}"
        else:
            raise ValueError(f"{piece[:80]!r} is neither a range of numbers nor a tag")


def _joined(ranges: Iterable[Range]) -> Ranges:
    """In order, none touching another."""
    done: list[Range] = []
    for first, last in sorted(ranges):
        if done and first <= done[-1][1] + 1:
            done[-1] = (done[-1][0], max(done[-1][1], last))
        else:
            done.append((first, last))
    return tuple(done)


def _without(ranges: Ranges, gone: Ranges) -> Iterator[Range]:
    for first, last in ranges:
        for start, end in gone:
            if end < first or start > last:
                continue
            if start > first:
                yield first, start - 1
            first = end + 1
        if first <= last:
            yield first, last


def _words(one: Range, between: str = "-") -> str:
    return str(one[0]) if one[0] == one[1] else f"{one[0]}{between}{one[1]}"
