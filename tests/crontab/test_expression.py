"""Schedules as Debian reads them: its own verdicts, and the surprises by name."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.crontab.expression import Expression, ExpressionError, Reboot, parse, read

GOLDEN = Path(__file__).parent.parent / "golden" / "cron" / "parse.jsonl.gz"
ALL_DOM, ALL_MONTHS, WEEK = (1 << 32) - 2, (1 << 13) - 2, 127


def values(mask: int) -> list[int]:
    return [value for value in range(64) if mask >> value & 1]


def verdict(text: str) -> Any:
    """What Debian's verdict looks like, from our reading: 0 and 7 are both Sunday there."""
    try:
        e = parse(text)
    except ExpressionError as error:
        return error.message
    dow = values(e.dow) + ([7] if e.dow & 1 else [])
    return [values(e.minute), values(e.hour), values(e.dom), values(e.month), dow, e.dom_star, e.dow_star, e.wildcard]


def debian(row: dict[str, Any]) -> Any:
    if row["kind"] == "error":
        return row["msg"]
    flags = row["flags"]
    fields = [row[key] for key in ("minute", "hour", "dom", "month", "dow")]
    return [*fields, bool(flags & 1), bool(flags & 2), bool(flags & 24)]


def test_debians_own_verdicts() -> None:
    rows = [json.loads(line) for line in gzip.decompress(GOLDEN.read_bytes()).splitlines()]
    assert len(rows) == 819
    assert [row["expr"] for row in rows if verdict(row["expr"]) != debian(row)] == []


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("5;x * * * *", "5 * * * *"),
        ("*5 * * * *", "* * * * *"),
        ("1.5 * * * *", "1 * * * *"),
        ("* * * * 1#2", "* * * * mon"),
        ("0~30 * * * *", "0 * * * *"),
        ("1-5-9 * * * *", "1-5 * * * *"),
        ("1-9/2/3 * * * *", "1-9/2 * * * *"),
        ("4294967301 * * * *", "5 * * * *"),
        ("\t5  *\t* * *", "5 * * * *"),
        ("0 0 * JAN,dEc *", "0 0 * 1,12 *"),
        ("0 0 * * SUN", "0 0 * * 7"),
        ("0 0 * * 0-7", "0 0 * * 0-6"),
        ("0 0 * * fri-sun", "0 0 * * 6-0"),
        ("* * * * *\n", "* * * * *"),
    ],
)
def test_accepted_silently(text: str, same: str) -> None:
    assert parse(text) == parse(same)


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("1/5 * * * *", "bad minute", 1),
        ("60 * * * *", "bad minute", 1),
        ("*/0 * * * *", "bad minute", 1),
        ("1, * * * *", "bad minute", 1),
        ("5-64/30 * * * *", "bad minute", 1),
        ("", "bad minute", 1),
        ("H * * * *", "bad minute", 1),
        ("18446744073709551621 * * * *", "bad minute", 1),
        ("\N{SUPERSCRIPT TWO} * * * *", "bad minute", 1),
        ("0 24 * * *", "bad hour", 3),
        ("0  0 0 * *", "bad day-of-month", 6),
        ("0 0 L * *", "bad day-of-month", 5),
        ("0 0 15W * *", "bad day-of-month", 5),
        ("0 0 */2147483647 * *", "bad day-of-month", 5),
        ("0 0 * 13 *", "bad month", 7),
        ("0 0 * january *", "bad month", 7),
        ("0 0 * * sunday", "bad day-of-week", 9),
        ("0 0 * * 8", "bad day-of-week", 9),
        ("* * * *", "bad day-of-week", 8),
        ("* * * * * *", "bad command", 11),
        ("@Daily", "bad time specifier", 1),
        (" @", "bad time specifier", 2),
    ],
)
def test_refused(text: str, message: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert (caught.value.message, caught.value.column) == (message, column)


def test_reboot_is_told_apart() -> None:
    with pytest.raises(Reboot):
        parse("@reboot")


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("@yearly", Expression(1, 1, 2, 2, WEEK, False, True, False)),
        ("@annually", Expression(1, 1, 2, 2, WEEK, False, True, False)),
        ("@monthly", Expression(1, 1, 2, ALL_MONTHS, WEEK, False, True, False)),
        ("@weekly", Expression(1, 1, ALL_DOM, ALL_MONTHS, 1, True, False, False)),
        ("@daily", Expression(1, 1, ALL_DOM, ALL_MONTHS, WEEK, False, False, False)),
        ("@midnight", Expression(1, 1, ALL_DOM, ALL_MONTHS, WEEK, False, False, False)),
        ("@hourly", Expression(1, (1 << 24) - 1, ALL_DOM, ALL_MONTHS, WEEK, False, False, True)),
    ],
)
def test_specials(text: str, expression: Expression) -> None:
    assert parse(text) == expression


@pytest.mark.parametrize(
    ("days", "starred"),
    [("* *", (True, True)), ("*/2 1", (True, False)), ("1-31 1", (False, False)), ("1,* *,1", (False, True))],
)
def test_the_star_is_the_first_character(days: str, starred: tuple[bool, bool]) -> None:
    dom, dow = days.split()
    expression = parse(f"0 0 {dom} * {dow}")
    assert (expression.dom_star, expression.dow_star) == starred
    assert expression.both_days is any(starred)


def test_wildcard_is_minute_or_hour() -> None:
    assert [parse(f"{time} 1 1 1").wildcard for time in ("* 1", "1 */2", "1 1", "1,* 1")] == [True, True, False, False]


def test_reading_tells_where_things_stand() -> None:
    reading = read(" 5\t*  * * mon\techo x")
    assert (reading.text, reading.columns, reading.end) == ("5 * * * mon", (2, 4, 7, 9, 11), 14)


NUMBERS = [st.integers(low, high) for low, high in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))]


@pytest.mark.slow
@given(st.data(), st.integers(0, 4))
def test_a_list_is_the_union_of_its_parts(data: st.DataObject, index: int) -> None:
    parts = data.draw(st.lists(st.tuples(NUMBERS[index], NUMBERS[index], st.integers(1, 9)), min_size=1, max_size=4))
    fields = ["*"] * 5
    fields[index] = ",".join(f"{first}-{last}/{step}" for first, last, step in parts)
    expected = {value for first, last, step in parts for value in range(first, last + 1, step)}
    got = parse(" ".join(fields))
    mask = (got.minute, got.hour, got.dom, got.month, got.dow)[index]
    assert set(values(mask)) == ({value % 7 for value in expected} if index == 4 else expected)


@given(st.text(alphabet="0123456789*/-,;#.~LWH?abjnsu @\t\0é", max_size=40))
def test_any_text_is_an_expression_or_an_error(text: str) -> None:
    try:
        expression = parse(text)
    except ExpressionError as error:
        assert 1 <= error.column <= len(text) + 1
    else:
        assert expression.dow <= WEEK
        assert expression.dom <= ALL_DOM
