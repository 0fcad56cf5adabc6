"""The ledger's contract, for the table in memory; and that losing replicas or answers never changes who won."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws.client import ClientError, Conflicted, Throttled, Unavailable, aws_call
from chalicelib.aws.store import Item, ReplicatedStore
from testing.fakes import MemoryTable, Store


class Flaky:
    """A fault that follows a script: before the effect, after it, before the next one ... `True` loses the answer."""

    def __init__(self, script: list[bool]) -> None:
        self.script = script

    def __call__(self, call: str) -> None:
        if self.script and self.script.pop(0):
            raise Unavailable(f"simulated {call}")


def test_create_makes_only_what_is_not_there() -> None:
    table = MemoryTable()
    assert table.create("a", "1", {"x": 1}) == Item("a", "1", 1, {"x": 1})
    assert table.create("a", "1", {"x": 2}) is None


def test_swap_needs_the_item_as_it_was() -> None:
    table = MemoryTable()
    first = table.create("a", "1", {})
    assert first is not None
    assert table.compare_and_set(first, {"x": 2}) == Item("a", "1", 2, {"x": 2})
    assert table.compare_and_set(first, {"x": 3}) is None
    assert table.delete(first) is False


def test_query_is_bounded_and_sorted() -> None:
    table = MemoryTable()
    for number in range(5):
        table.create("a", str(number), {})
    assert [item.sk for item in table.query("a", limit=2)] == ["4", "3"]
    assert [item.sk for item in table.query("a", newest=False, after="1", before="4")] == ["2", "3"]
    assert table.query("b") == []


def test_a_lost_replica_is_passed_over_for_a_while() -> None:
    calls: list[str] = []

    def down(call: str) -> None:
        calls.append(call)
        raise Unavailable("down")

    now, store = [0.0], Store()
    replicas = ReplicatedStore([MemoryTable(store, down), MemoryTable(store)], clock=lambda: now[0])
    replicas.get("a", "1")
    replicas.get("a", "1")
    assert len(calls) == 1
    now[0] = 31.0
    replicas.get("a", "1")
    assert len(calls) == 2


def test_when_no_replica_answers_the_last_ones_word_is_passed_on() -> None:
    def down(call: str) -> None:
        raise Unavailable("eu-west-3: down")

    with pytest.raises(Unavailable, match="eu-west-3"):
        ReplicatedStore([MemoryTable(fault=down)] * 3).get("a", "1")


def test_a_replica_that_was_deleted_is_passed_over_while_another_one_answers(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def deleted(call: str) -> None:
        calls.append(call)
        raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "no such table"}}, call)

    replicas = ReplicatedStore([MemoryTable(fault=deleted), MemoryTable(Store())])
    assert replicas.create("a", "1", {"n": 1})
    assert replicas.get("a", "1")
    assert len(calls) == 1 and "no such table" in caplog.text


def test_what_all_replicas_refuse_is_the_fault_of_the_request_unless_one_was_silent() -> None:
    def refused(call: str) -> None:
        raise ClientError({"Error": {"Code": "ValidationException", "Message": "too large"}}, call)

    def silent(call: str) -> None:
        raise Unavailable("eu-west-3: no answer")

    replicas = ReplicatedStore([MemoryTable(fault=refused)] * 3)
    for _ in range(2):
        with pytest.raises(ClientError, match="too large"):
            replicas.create("a", "1", {})
    with pytest.raises(Unavailable, match="eu-west-3"):  # it may have written
        ReplicatedStore([MemoryTable(fault=refused), MemoryTable(fault=silent)]).create("a", "1", {})


@pytest.mark.parametrize("refusal", [Throttled, Conflicted])
def test_a_replica_that_refused_but_lives_is_asked_again_and_not_passed_over(refusal: type[Unavailable]) -> None:
    refusals, calls, waited = [refusal("busy"), refusal("busy")], list[str](), list[float]()

    def busy(call: str) -> None:
        calls.append(call)
        if refusals:
            raise refusals.pop()

    def far(call: str) -> None:
        raise AssertionError("the near replica lives")

    store = Store()
    replicas = ReplicatedStore([MemoryTable(store, busy), MemoryTable(store, far)], wait=waited.append)
    assert replicas.create("a", "1", {})
    assert replicas.get("a", "1")
    assert len(waited) == 2 and sum(waited) < 1


def test_a_replica_that_stays_busy_leaves_the_call_to_the_next_one_but_is_first_again() -> None:
    busy, store = [True], Store()

    def throttled(call: str) -> None:
        if busy[0]:
            raise Throttled("busy")

    def far(call: str) -> None:
        assert busy[0]

    replicas = ReplicatedStore([MemoryTable(store, throttled), MemoryTable(store, far)], wait=lambda seconds: None)
    assert replicas.create("a", "1", {})
    busy[0] = False
    assert replicas.get("a", "1")


def test_a_conflict_of_replicas_is_told_from_a_region_that_is_down() -> None:
    def conflict() -> None:
        raise ClientError({"Error": {"Code": "ReplicatedWriteConflictException", "Message": ""}}, "PutItem")

    with pytest.raises(Conflicted, match="eu-west-1"):
        aws_call("eu-west-1", conflict)


SCRIPT = st.lists(st.booleans(), max_size=6)


@given(st.lists(SCRIPT, min_size=4, max_size=4))
def test_of_two_creators_exactly_one_wins_whatever_answers_get_lost(scripts: list[list[bool]]) -> None:
    store = Store()
    mine = ReplicatedStore([MemoryTable(store, Flaky(list(script))) for script in scripts[:2]])
    theirs = ReplicatedStore([MemoryTable(store, Flaky(list(script))) for script in scripts[2:]])
    won = []
    for name, replicas in (("mine", mine), ("theirs", theirs)):
        try:
            if replicas.create("a", "1", {"by": name}):
                won.append(name)
        except Unavailable:
            continue
    there = MemoryTable(store).get("a", "1")
    assert len(won) <= 1
    if won:
        assert there is not None
        assert there.body == {"by": won[0]}


@given(SCRIPT, SCRIPT)
def test_a_swap_whose_answer_got_lost_is_still_known_to_be_ours(first: list[bool], second: list[bool]) -> None:
    store = Store()
    item = MemoryTable(store).create("a", "1", {})
    assert item is not None
    replicas = ReplicatedStore([MemoryTable(store, Flaky(list(first))), MemoryTable(store, Flaky(list(second)))])
    try:
        mine = replicas.compare_and_set(item, {"x": 1})
    except Unavailable:
        return
    assert mine == MemoryTable(store).get("a", "1")


@given(SCRIPT, SCRIPT)
def test_a_delete_whose_answer_got_lost_has_happened(first: list[bool], second: list[bool]) -> None:
    store = Store()
    item = MemoryTable(store).create("a", "1", {})
    assert item is not None
    replicas = ReplicatedStore([MemoryTable(store, Flaky(list(first))), MemoryTable(store, Flaky(list(second)))])
    try:
        assert replicas.delete(item)
    except Unavailable:
        return
    assert MemoryTable(store).get("a", "1") is None
