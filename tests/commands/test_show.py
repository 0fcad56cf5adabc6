"""Reports at 80 and at 120 columns: no id and no name is ever cut, and what fits is a table."""

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from commands.operate import show, status

ID = "3f1c9a52-7f0e-4b1d-9a57-0c2a4c1d9e10"
LONG = "backup-of-the-shop/usr-local-bin-backup-nightly-with-a-long-name-indeed-and-more-of-it-7c1d"
LETTERS: list[dict[str, Any]] = [
    {"id": f"{number}{ID}", "task": "invoices.render_and_send_by_mail", "key": f"{ID}{ID}", "received": 4,
     "error": "ValueError: the customer has no address, and nobody has entered one since the import"}
    for number in range(2)]
JOBS: list[dict[str, Any]] = [
    {"job": name, "schedule": "*/5 8-17 * * mon-fri", "tz": "Europe/Stockholm", "paused": False,
     "next": "2026-03-30T06:00Z", "last": {"slot": "2026-03-28T12:00Z", "state": "timed-out", "seconds": 12.3,
                                           "exit": 3, "region": "ap-southeast-1"}}
    for name in ("hello/one", LONG)]


def printed(what: RenderableType, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    console.print(what, crop=False)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_no_value_of_a_report_is_cut(width: int) -> None:
    lines = printed(show.report({"queue": "default", "letters": LETTERS}), width)
    for letter in LETTERS:
        for value in (letter["id"], letter["task"], letter["key"]):
            assert sum(value in line for line in lines) >= 1
    assert "\N{HORIZONTAL ELLIPSIS}" not in "".join(lines)


def test_a_report_that_is_too_wide_has_one_block_for_each_item() -> None:
    small = [{"id": ID, "task": "a.b", "error": "too long for a table of eighty columns, which is as it should be"}]
    assert printed(show.rows("letters", small), 80) == [
        "letters",
        "id                                    task  error",
        f"{ID}  a.b   too long for a table of eighty",
        " " * 44 + "columns, which is as it should be",
    ]
    assert printed(show.rows("letters", LETTERS[:1]), 80) == [
        "letters",
        f"id: 0{ID}",
        "  task: invoices.render_and_send_by_mail",
        f"  key: {ID}{ID}",
        "  received: 4",
        "  error: ValueError: the customer has no address, and nobody has entered one since the import",
    ]


@pytest.mark.parametrize(("width", "blocks"), [(80, True), (120, True), (200, False)])
def test_status_never_breaks_the_name_of_a_job(width: int, blocks: bool) -> None:
    lines = printed(status.jobs_table(JOBS, "eu-west-1", "Europe/Stockholm", "2026-03-28"), width)
    assert sum(LONG in line for line in lines) == 1
    assert (f"job: {LONG}" in lines) is blocks
    assert ("  next (UTC): 03-30 06:00" in lines) is blocks


def test_status_of_short_names_is_a_table_at_80_columns() -> None:
    assert printed(status.jobs_table(JOBS[:1], "ap-southeast-1", "Europe/Stockholm", "2026-03-28"), 80) == [
        "job        schedule              last run  outcome      took    next (UTC)",
        "hello/one  */5 8-17 * * mon-fri  12:00     timed-out 3  12.3 s  03-30 06:00",
    ]


def test_a_plan_wraps_its_reasons_between_words() -> None:
    planned = [{"kind": "pause", "target": ID, "reason": "one two three four five six seven eight nine ten eleven"}]
    assert printed(show.actions(planned), 80) == [
        "act    on                                    because",
        f"pause  {ID}  one two three four five six seven",
        " " * 45 + "eight nine ten eleven",
    ]
    assert any(ID in line for line in printed(show.actions(planned), 40))
