"""Positions and sets of global transaction ids: read, told, and compared as sets of transactions would be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.mysql import gtid
from chalicelib.mysql.gtid import GtidSet

UUIDS = [f"3e11fa47-71ca-11e1-9e33-c80aa942956{digit}" for digit in range(3)]
# A set of MySQL's, as what it means: (uuid, number) each.
transactions = st.frozensets(st.tuples(st.sampled_from(UUIDS), st.integers(1, 30)))


def mysql(pairs: frozenset[tuple[str, int]]) -> GtidSet:
    """The same as the server would print it, read."""
    return gtid.read("mysql", ",\n".join(f"{uuid}:{':'.join(str(n) for u, n in sorted(pairs) if u == uuid)}"
                                        for uuid in sorted({uuid for uuid, _ in pairs})))


def meant(gtids: GtidSet) -> set[tuple[str, int]]:
    return {(origin, number) for origin, ranges in gtids.ranges.items()
            for first, last in ranges for number in range(first, last + 1)}


@given(transactions, transactions)
def test_mysql_sets_behave_as_sets(one: frozenset[tuple[str, int]], other: frozenset[tuple[str, int]]) -> None:
    left, right = mysql(one), mysql(other)
    assert meant(left) == one and left.count == len(one) and bool(left) == bool(one)
    assert meant(gtid.union(left, right)) == one | other
    assert meant(gtid.subtract(left, right)) == other - one
    assert gtid.is_subset(left, right) == (other <= one)


@given(transactions)
def test_mysql_sets_are_read_as_they_are_told(pairs: frozenset[tuple[str, int]]) -> None:
    assert gtid.read("mysql", str(mysql(pairs))) == mysql(pairs)


@given(st.lists(st.integers(1, 3), max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_of_two_servers_on_one_history_the_further_one_contains_the_other(
    writers: list[int], one: int, other: int
) -> None:
    """MariaDB: primaries write in turn, each replica has applied a beginning of it."""
    left, right = mariadb(writers[:one]), mariadb(writers[:other])
    assert gtid.is_subset(left, right) == (len(writers[:one]) >= len(writers[:other]))
    assert gtid.most_advanced({"one": left, "other": right}) != []


def mariadb(writers: list[int]) -> GtidSet:
    """What gtid_binlog_state is after these servers have written one transaction each, in order."""
    return gtid.read("mariadb", ",".join(f"0-{server}-{number}" for server, number in
                                         {server: number for number, server in enumerate(writers, 1)}.items()))


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20))
def test_an_old_primary_that_wrote_on_alone_is_not_contained(common: int, alone: int, since: int) -> None:
    old = mariadb([1] * common + [1] * alone)
    new = mariadb([1] * common + [2] * since)
    assert gtid.subtract(new, old) == gtid.GtidSet({"0-1": ((common + 1, common + alone),)}, {"0": common + alone})
    assert gtid.subtract(new, old).count == alone
    assert not gtid.is_subset(new, old)


@pytest.mark.parametrize("has, wants, text", [
    ("0-1-100,0-2-110", "0-1-105", "0-1-101..105"),
    ("0-1-5", "0-1-6", "0-1-6"),
    ("0-1-5,1-1-9", "1-1-9", ""),
    ("0-1-5", "1-1-9", "1-1-1..9"),
    # Made from a copy: it never saw server 1, but is further in the domain.
    ("0-2-110", "0-1-100", ""),
    ("0-2-110", "0-1-111", "0-1-111"),
    ("", "0-1-2", "0-1-1..2"),
    ("0-1-2", "", ""),
])
def test_what_a_mariadb_lacks(has: str, wants: str, text: str) -> None:
    assert str(gtid.subtract(gtid.read("mariadb", has), gtid.read("mariadb", wants))) == text


@pytest.mark.parametrize("primary, replica, text", [
    ("0-1-79,0-2-92", "0-1-154", "0-1-80..154"),     # it went on with server 1 when server 2 became the primary
    ("0-1-79,0-2-92", "0-1-79,0-2-99", ""),          # the primary was asked earlier
    ("0-1-79,0-2-92", "0-1-79,0-2-80,0-3-99", "0-3-93..99"),
    ("0-1-79,0-2-92", "0-1-60", ""),
    ("0-2-92", "0-1-92", ""),                        # made from a copy
    ("0-1-79,0-2-92", "0-1-79,7-3-5", ""),           # another domain leaves no doubt about this one
    ("", "0-1-79", ""),
])
def test_replica_that_has_of_others_what_its_primary_lacks_is_of_another_history(
    primary: str, replica: str, text: str
) -> None:
    found = gtid.diverged(gtid.read("mariadb", primary), "2", gtid.read("mariadb", replica))
    assert str(found) == text


def test_transactions_of_mysql_always_tell_what_a_replica_lacks() -> None:
    one, other = (gtid.read("mysql", f"0000000{number}-0000-0000-0000-000000000000:1-9") for number in (1, 2))
    assert not gtid.diverged(one, "1", other) and gtid.subtract(one, other) == other


def test_two_that_each_have_something_are_incomparable() -> None:
    candidates = {"one": gtid.read("mariadb", "0-1-9,1-1-1"), "two": gtid.read("mariadb", "0-1-8,1-1-2")}
    assert gtid.most_advanced(candidates) == []


def test_tags_and_capitals_of_mysql() -> None:
    read = gtid.read("mysql", f"{UUIDS[0].upper()}:1-5:7:nightly:3-4, {UUIDS[1]}:1\n")
    assert str(read) == f"{UUIDS[0]}:1-5:7,{UUIDS[0]}:nightly:3-4,{UUIDS[1]}:1" and read.count == 9


@pytest.mark.parametrize("engine, text", [
    ("mariadb", "0-1"), ("mariadb", "0-1-x"), ("mariadb", UUIDS[0] + ":1"), ("mariadb", "0-1-5;0-2-6"),
    ("mysql", "0-1-5"), ("mysql", UUIDS[0]), ("mysql", UUIDS[0] + ":0"), ("mysql", UUIDS[0] + ":5-3"),
    ("mysql", UUIDS[0] + ":1-2-3"), ("mysql", UUIDS[0] + ":--"), ("mysql", "x" * 36 + ":1"),
])
def test_what_is_no_gtid_is_refused(engine: gtid.Engine, text: str) -> None:
    with pytest.raises(ValueError):
        gtid.read(engine, text)


@pytest.mark.slow
@given(st.sampled_from(["mariadb", "mysql"]), st.text(st.characters(codec="ascii"), max_size=60))
def test_any_text_is_read_or_refused(engine: gtid.Engine, text: str) -> None:
    try:
        read = gtid.read(engine, text)
    except ValueError:
        return
    assert gtid.is_subset(read, read)
