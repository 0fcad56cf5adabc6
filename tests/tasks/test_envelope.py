from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.envelope import MAX_BYTES, RESERVED_BYTES, Envelope, Malformed, decode, encode

# A lone surrogate is no text: JSON cannot carry it.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12)


def test_the_least_that_php_has_to_write() -> None:
    body = '{"task": "invoices.render", "args": {"customer": 7}}'
    assert decode(body) == Envelope("invoices.render", {"customer": 7})


def test_every_field() -> None:
    body = ('{"task":"a.b","args":{"n":1},"id":"x","key":"k","sent_at":"2026-03-29T02:55:00+02:00",'
            '"meta":{"trace":"t"}}')
    sent = datetime(2026, 3, 29, 0, 55, tzinfo=UTC)
    assert decode(body) == Envelope("a.b", {"n": 1}, "x", "k", sent, {"trace": "t"})


@pytest.mark.parametrize(("body", "says"), [
    ("", "input data was truncated"),
    ("hello", "invalid character"),
    ("[]", "expected `object`, got `array`"),
    ("null", "expected `object`, got `null`"),
    ("{}", "missing required field `task`"),
    ('{"task": ""}', "length >= 1"),
    ('{"task": 7}', "`$.task`"),
    ('{"task": "a.b", "args": [1]}', "`$.args`"),
    ('{"task": "a.b", "arg": {}}', "unknown field `arg`"),
    ('{"task": "a.b", "key": ""}', "`$.key`"),
    ('{"task": "a.b", "sent_at": "2026-03-29T02:55:00"}', "`$.sent_at`"),
    ('{"task": "a.b"} x', "trailing characters"),
    ('{"task": "a.b", "args": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}}", "nests too deeply"),
    ('{"task": "\ud800"}', "not text"),
])
def test_what_is_wrong_is_named(body: str, says: str) -> None:
    with pytest.raises(Malformed) as error:
        decode(body)
    assert says in str(error.value)
    assert "docs/tasks.md" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@given(st.dictionaries(TEXT, JSON, max_size=5))
def test_what_is_sent_arrives(args: dict[str, Any]) -> None:
    envelope = Envelope("a.b", args, "id", "key", datetime(2026, 1, 1, tzinfo=UTC), {"m": 1})
    assert decode(encode(envelope)) == envelope


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1"))
       | JSON.map(lambda value: msgspec.json.encode(value).decode()))
def test_any_body_is_an_envelope_or_one_clear_error(body: str) -> None:
    try:
        assert decode(body).task
    except Malformed as error:
        assert str(error).startswith("the body is not a task's envelope (")


def test_too_long_a_message_is_refused_with_the_limit_and_the_remedy() -> None:
    room = MAX_BYTES - RESERVED_BYTES
    frame = len(encode(Envelope("a.b", {"text": ""})))
    assert len(encode(Envelope("a.b", {"text": "x" * (room - frame)}))) == room
    with pytest.raises(Malformed, match=r"258,049 bytes long and a queue takes 258,048. Put the data where"):
        encode(Envelope("a.b", {"text": "x" * (room - frame + 1)}))


def test_bytes_are_counted_not_characters() -> None:
    with pytest.raises(Malformed, match="bytes long"):
        encode(Envelope("a.b", {"text": "å" * 130_000}))


def test_an_argument_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(Malformed, match=r"^a\.b: an argument cannot be written as JSON"):
        encode(Envelope("a.b", {"where": object()}))
