"""The checker of the simulation is checked: each notice that is false, twice or missing counts, and none that is true.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from chalicelib.aws.store import Item
from simulation.databases.world import Invocation, Scenario, World
from testing.databases import FakeServer

EU, US = "eu-west-1", "us-east-1"
STOPPED = "IOThreadStopped: database in us-east-1"
OVER = f"Recovered: {STOPPED}"


class Story:
    """A fleet of which nothing happens by itself. `tell` brings a notice to people."""

    def __init__(self) -> None:
        self.world = World(Scenario(1, regions=2, every=0, rough=0))
        self.checker = self.world.checker
        self.began_with: Mapping[str, Any] = self.checker.true_record

    @property
    def replica(self) -> FakeServer:
        """The server that all of this is about."""
        return self.world.servers.servers[US]

    def wait(self, seconds: int, *, deaf: str = "") -> None:
        """Time passes, in which the checker looks as often as in a simulation. All Lambdas but `deaf` ask servers."""
        for _ in range(0, seconds, 2):
            self.world.scheduler.run(self.world.now + 2)
            for operation in {"watch", "heal"} - {deaf}:
                for region in (EU, US):
                    self.checker.asked(Invocation(operation, region, 0, int(self.world.now)))
            self.checker.judge()

    def look(self, operation: str = "watch") -> None:
        """A run sees the server, and ends without any failure."""
        self.checker.notices.shown(self.replica)
        self.checker.notices.ended(US, operation, self.world.now)

    def tell(self, subject: str = STOPPED) -> None:
        """A notice comes from a run that began just now."""
        self.checker.notices.told(US, subject, self.world.now, self.checker.true_record)

    def promote(self, to: str = US) -> None:
        """Somebody claims a promotion."""
        promotion = {"to": to, "old": EU, "step": "claimed", "began": self.world.now, "forced": ""}
        self.checker.written(Item("primary", "current", 1, {
            "schema": 1, "run_id": "x", "region": EU, "term": 1, "fenced": (EU, US), "promotion": promotion}), None)

    def unreadable(self, seconds: float) -> None:
        """Nobody can read the primary's record."""
        self.checker.forgot("", seconds, ("primary", "current"))

    @property
    def harm(self) -> list[str]:
        """What the checker has written down, without the times."""
        return [line.split(": ", 1)[1] for line in self.checker.harm]


@pytest.fixture
def story() -> Iterator[Story]:
    yield Story()


def test_lambda_that_asks_no_server_for_minutes_is_harm(story: Story) -> None:
    story.wait(300, deaf="watch")
    assert story.harm == []
    story.wait(10, deaf="watch")
    assert story.harm == [f"watch in {EU} is deaf", f"watch in {US} is deaf"]


def test_notice_that_is_true_is_no_harm(story: Story) -> None:
    story.replica.stop("IO")
    story.wait(60)
    story.tell()
    story.replica.start(["IO"])
    story.wait(60)
    story.tell(OVER)
    story.wait(600)
    assert story.harm == []


def test_notice_of_what_a_run_has_seen_to_be_over_is_harm(story: Story) -> None:
    story.replica.stop("IO")
    story.wait(10)
    story.replica.start(["IO"])
    story.wait(60)
    story.look()
    story.wait(100)
    story.tell()
    assert story.harm == [f"{STOPPED} in us-east-1, which has not held for 158 s"]


def test_unheard_notice_that_no_run_could_correct_is_no_harm(story: Story) -> None:
    story.replica.stop("IO")
    story.wait(10)
    story.replica.start(["IO"])
    story.look("heal")
    story.wait(200)
    story.tell()
    assert story.harm == []


def test_candidate_whose_thread_stands_still_is_told_while_nobody_can_read_of_its_promotion(story: Story) -> None:
    story.promote()
    story.replica.stop("IO")
    story.unreadable(500)
    story.wait(300)
    story.look()
    story.tell()
    assert story.harm == []


def test_candidate_whose_thread_runs_is_not_told_either(story: Story) -> None:
    story.promote()
    story.unreadable(500)
    story.wait(300)
    story.look()
    story.tell()
    assert len(story.harm) == 1 and "which has not held for" in story.harm[0]


def test_stop_by_a_promotion_itself_is_not_to_be_told(story: Story) -> None:
    story.promote()
    story.replica.stop("IO")
    story.wait(300)
    assert story.harm == []
    story.tell()
    assert story.harm == [f"{STOPPED} is told of the promotion's own work"]


def test_stop_that_was_there_before_the_promotion_may_be_told(story: Story) -> None:
    story.replica.stop("IO")
    story.wait(60)
    story.promote()
    story.wait(60)
    story.tell()
    assert story.harm == []


def test_promotion_that_is_left_half_done_excuses_nothing_for_ever(story: Story) -> None:
    story.promote()
    story.replica.stop("IO")
    story.wait(700)
    assert story.harm == []
    story.wait(100)
    assert [line.split(" is not")[0] for line in story.harm] == ["IOThreadStopped in us-east-1"]


@pytest.mark.parametrize("kind", ["IOThreadStopped", "SQLThreadStopped", "NotReplicating", "DatabaseUnreachable",
                                  "ReplicationBroken"])
def test_what_holds_and_is_not_told_is_harm_and_so_is_an_end_that_is_not_told(story: Story, kind: str) -> None:
    server = story.replica
    if kind == "NotReplicating":
        server.reset_replica()
    elif kind == "DatabaseUnreachable":
        server.alive = False
    else:
        server.stop("IO" if kind == "IOThreadStopped" else "SQL")
        server.sql_errno = 1062 if kind == "ReplicationBroken" else 0
    story.wait(188)
    assert story.harm == []
    story.wait(8)
    assert f"{kind} in us-east-1 is not told for 192 s" in story.harm
    story.tell(f"{kind}: database in us-east-1")
    server.alive = True
    server.change_source("eu-west-1.db", 3306)
    story.checker.harm.clear()
    story.wait(198)
    assert [line for line in story.harm if line.startswith(f"the end of {kind} in us-east-1 is not told")]


def test_same_notice_twice_within_an_hour_is_harm(story: Story) -> None:
    story.replica.stop("IO")
    story.wait(60)
    story.tell()
    story.wait(1000)
    story.tell()
    assert len(story.harm) == 1 and "is told twice within" in story.harm[0]


def test_end_that_is_told_while_it_holds_is_harm(story: Story) -> None:
    story.replica.stop("IO")
    story.wait(180)
    story.tell()
    story.tell(OVER)
    assert len(story.harm) == 1 and "which holds for" in story.harm[0]


def test_unreadable_item_that_nobody_hears_of_is_harm(story: Story) -> None:
    for told in (False, True):
        story.checker.harm.clear()
        story.checker.forgot(US, 0, ("databases", "heal"))
        story.wait(60)
        if told:
            story.tell("UnreadableItem: databases/heal")
        story.wait(240)
        assert story.harm == ([] if told else ["UnreadableItem: databases/heal in us-east-1 is never told"])


def test_record_that_is_built_on_an_earlier_one_is_harm_unless_forced(story: Story) -> None:
    story.promote()
    first, good = story.checker.records
    for forced, harm in (("", ["term 2 is written over a record that is not the last one"]), ("it was restored", [])):
        story.checker.harm.clear()
        del story.checker.records[2:]
        promotion = good.body["promotion"] | {"forced": forced}
        body = dict(good.body) | {"term": 2, "promotion": promotion}
        story.checker.written(Item("primary", "current", 2, body), first)
        assert story.harm == harm


def test_same_notice_again_because_its_run_was_disturbed_is_no_harm(story: Story) -> None:
    story.replica.stop("IO")
    story.wait(60)
    story.tell()
    story.checker.disturbed(US, 62)
    story.wait(120)
    story.tell()
    assert story.harm == []
    story.wait(60)
    story.checker.disturbed(US, 62)
    story.wait(120)
    story.tell()
    assert len(story.harm) == 1 and "is told twice within" in story.harm[0]
