"""journal.read: the newest entries of a region, by operation and age."""

from typing import Any

import pytest

from chalicelib.engine import journal
from chalicelib.engine import run as engine
from chalicelib.journal import decide
from chalicelib.journal.decide import JournalFilter
from chalicelib.journal.operations import ALL
from tests.journal.harness import NOW, Journal

READ = ALL[0]


def asked(of: Journal, **wanted: Any) -> dict[str, Any]:
    """The report."""
    outcome = engine.run(READ, of.context, wanted)
    assert outcome["status"] == "planned", outcome
    report: dict[str, Any] = outcome["plan"]["report"]
    return report


def test_entries_come_newest_first_over_midnight() -> None:
    region = Journal([(NOW - 30, "tasks.redrive"), (NOW - 3 * 3600, "tunnels.repair"), (NOW - 20 * 3600, "a.b")])
    assert [entry["operation"] for entry in asked(region)["entries"]] == ["tasks.redrive", "tunnels.repair", "a.b"]
    assert asked(region)["entries"][0]["at"] == "2026-03-29T00:59:30Z"


def test_entries_older_than_asked_are_left_out() -> None:
    region = Journal([(NOW - 30, "a.b"), (NOW - 7300, "a.b")])
    assert len(asked(region, since="2h")["entries"]) == 1
    assert len(asked(region, since="3h")["entries"]) == 2


@pytest.mark.parametrize(("prefix", "count"), [("tunnels", 2), ("tunnels.repair", 1), ("unnels", 0), ("", 3)])
def test_operation_is_a_name_or_its_beginning(prefix: str, count: int) -> None:
    region = Journal([(NOW - 1, "tunnels.repair"), (NOW - 2, "tunnels.drain"), (NOW - 3, "tasks.redrive")])
    assert len(asked(region, operation=prefix)["entries"]) == count


def test_limit_keeps_the_newest_and_says_that_there_are_more() -> None:
    region = Journal([(NOW - age, "a.b") for age in range(1, 251)])
    report = asked(region, limit=120)
    assert (len(report["entries"]), report["left_out"]) == (120, True)
    assert report["entries"][-1]["at"] == "2026-03-29T00:58:00Z"
    assert not asked(region, limit=200, operation="c")["left_out"]


def test_unreadable_entry_is_named_and_costs_only_itself() -> None:
    region = Journal([(NOW - 30, "a.b"), (NOW - 10, "a.c")])
    region.context.local_store.create("journal#2026-03-29", "00:59:40#a.d#1", {})
    first, second, third = asked(region)["entries"]
    assert (first["operation"], third["operation"]) == ("a.c", "a.b")
    assert second["at"] == "2026-03-29T00:59:40Z" and "00:59:40#a.d#1" in second["unreadable"]


@pytest.mark.parametrize(("wanted", "said"), [
    ({"since": "91d"}, "since=91d: write 1s to 90d"), ({"since": "0s"}, "since=0s: write 1s"),
    ({"since": "a week"}, "'a week' is not a span of time"), ({"limit": 0}, "limit=0: write 1 to 200"),
    ({"limit": 201}, "limit=201"), ({"sinse": "1d"}, "It takes: since, operation, limit")])
def test_wrong_wish_is_refused_with_the_remedy(wanted: dict[str, Any], said: str) -> None:
    outcome = engine.run(READ, Journal([]).context, wanted)
    assert outcome["status"] == "refused" and said in outcome["message"]


def test_reads_as_far_back_as_is_kept() -> None:
    assert decide.KEPT_DAYS == journal.KEPT_DAYS


def test_window_holds_every_day_that_it_touches() -> None:
    assert decide.window(JournalFilter(since="1d"), NOW).days == ("2026-03-29", "2026-03-28")
    assert decide.window(JournalFilter(since="59m"), NOW).days == ("2026-03-29",)
