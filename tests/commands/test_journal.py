"""`lamp journal`: how its entries look."""

from typing import Any

import pytest

from commands.operate import journal

ENTRY: dict[str, Any] = {
    "at": "2026-03-28 12:00:00", "region": "eu-west-1", "operation": "schedules.pause", "request": "7c5a-id",
    "actions": [], "count": 0}


@pytest.mark.parametrize(("trigger", "shown"), [("manual", True), ("schedule", False)])
def test_an_entry_of_a_person_has_the_request_id(trigger: str, shown: bool) -> None:
    [headline] = journal.lines(ENTRY | {"trigger": trigger})
    assert ("request 7c5a-id" in headline.plain) is shown and f"by {trigger}" in headline.plain
