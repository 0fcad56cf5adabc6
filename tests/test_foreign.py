"""Whatever others have written: it is read, or it is unreadable, and nothing else happens."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import foreign

DEEP = '{"of another":' + "[" * 100_000 + "]" * 100_000 + "}"


class Flag(msgspec.Struct):
    """A shape."""

    reason: str


@pytest.mark.parametrize(("text", "why"), [
    (DEEP, "it nests too deeply"), (DEEP.encode(), "it nests too deeply"), ('"\ud800"', "half of a surrogate pair"),
    (b'{"reason":"\xff"}', "(?i)utf-8"), ("{", "input data was truncated"), ("[]", "expected `object`, got `array`"),
    ("{}", "object missing required field `reason`"), ("", "input data was truncated"),
])
def test_text_that_is_no_such_value_is_undecodable(text: str | bytes, why: str) -> None:
    with pytest.raises(foreign.Undecodable, match=why):
        foreign.decode(text, Flag)


@pytest.mark.slow
@given(st.recursive(st.none() | st.integers(-2**63, 2**63 - 1) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_json_can_hold_is_read_as_it_is(value: Any) -> None:
    assert foreign.decode(msgspec.json.encode(value)) == value


@pytest.mark.parametrize(("text", "shown"), [
    ("plain wörds 😀", "plain wörds 😀"), ("two\nlines\r\n", "two lines  "), ("a\tb\u2028c\u00a0d", "a b c d"),
    ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"), ("\u202etxt.exe", "\\u202etxt.exe"),
    ("\ud800", "\\ud800"), ("\x9b1A", "\\x9b1A"), ("", ""),
])
def test_line_shows_what_does_not_print(text: str, shown: str) -> None:
    assert foreign.line(text) == shown


@given(st.text())
def test_line_and_lines_print_whatever_they_are_given(text: str) -> None:
    assert foreign.line(text).isprintable()
    for one in foreign.lines(text):
        assert one.startswith("  | ") and one.isprintable()


def test_plain_reaches_every_text_of_a_value() -> None:
    value = {"a\n": ["b\x07", {"c": ("d\n", 1, None)}]}
    assert foreign.plain(value) == {"a ": ["b\\x07", {"c": ["d ", 1, None]}]}
