"""Bodies of stored items: read back, read across releases, and never a reason to stop."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.engine.schema import ItemKey, Schema, State, Stored, Unreadable, decode, encode

KEY = ItemKey("lamp-test in eu-west-1", "tunnels", "state")


class Lamp(State, frozen=True):
    """A lamp of an earlier release."""

    name: str
    hours: float = 0


class Street(State, frozen=True):
    """What an earlier release stored."""

    lamps: tuple[Lamp, ...] = ()
    last: Lamp | None = None
    by_name: dict[str, Lamp] = {}  # noqa: RUF012 - msgspec copies it
    note: str = ""


class NewLamp(State, frozen=True):
    """A lamp of a later release."""

    name: str
    hours: float = 0
    colour: str = "white"


class NewStreet(State, frozen=True):
    """What a later release stored."""

    lamps: tuple[NewLamp, ...] = ()
    last: NewLamp | None = None
    by_name: dict[str, NewLamp] = {}  # noqa: RUF012 - msgspec copies it
    note: str = ""
    dimmed_until: float = 0


OLD, NEW = Schema(Street, 1), Schema(NewStreet, 2)
LAMPS = st.builds(Lamp, st.text(), st.floats(allow_nan=False, allow_infinity=False))
STREETS = st.builds(Street, st.lists(LAMPS).map(tuple), st.none() | LAMPS, st.dictionaries(st.text(), LAMPS), st.text())
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner)
                    | st.dictionaries(st.sampled_from(["schema", "lamps", "last", "name", "hours", "by_name"])
                                      | st.text(), inner), max_leaves=12)


def stored(found: Stored[Any] | Unreadable) -> Stored[Any]:
    assert isinstance(found, Stored), found
    return found


@pytest.mark.slow
@given(STREETS, st.integers(0, 9), st.text())
def test_decode_of_encoded_value_gives_it_back(street: Street, version: int, run_id: str) -> None:
    found = decode(encode(street, OLD, run_id=run_id), OLD, KEY, version=version)
    assert found == Stored(street, version, run_id, 1)


@pytest.mark.slow
@given(JSON)
def test_decode_of_any_json_never_raises(body: object) -> None:
    assert isinstance(decode(body, OLD, KEY), Stored | Unreadable)


@pytest.mark.parametrize(("body", "because"), [
    (None, "body is empty"), ({}, "body is empty"), ([1], "a list"), ("x", "a text"), (3, "a number"),
    ({"lamps": []}, "no schema number"), ({"schema": True}, "no schema number"), ({"schema": 0}, "no schema number"),
    ({"schema": 1, "run_id": 3}, "no schema number"), ({"schema": 1, "lumps": 1}, "unknown field `lumps`"),
    ({"schema": 1, "lamps": [{"name": "a", "x": 1}]}, "unknown field `x`"),
    ({"schema": 1, "lamps": [{"name": 1}]}, "Expected `str`, got `int`"),
    ({"schema": 2, "lamps": [{"name": 1}]}, "schema 2 here, 1 in this release"),
])
def test_decode_of_foreign_body_says_which_item_and_why(body: object, because: str) -> None:
    found = decode(body, OLD, KEY)
    assert isinstance(found, Unreadable)
    assert because in found.because
    assert str(found).startswith("tunnels/state in lamp-test in eu-west-1: ")


def test_decode_of_newer_schema_reads_what_it_understands_and_says_so() -> None:
    lamp = NewLamp("corner", 3, "red")
    found = stored(decode(encode(NewStreet((lamp,), lamp, {"a": lamp}, "n", 7), NEW), OLD, KEY))
    old = Lamp("corner", 3)
    assert found.value == Street((old,), old, {"a": old}, "n")
    assert "newer release (schema 2, this one understands 1)" in found.note
    assert "by_name.a.colour, dimmed_until, lamps.colour, last.colour" in found.note


def test_write_after_rollback_keeps_top_level_fields_of_newer_release() -> None:
    before = stored(decode(encode(NewStreet(dimmed_until=7), NEW), OLD, KEY))
    body = encode(Street(note="old release"), OLD, before=before)
    assert stored(decode(body, NEW, KEY)).value == NewStreet(note="old release", dimmed_until=7)
    # And the old release reads what it wrote itself.
    assert stored(decode(body, OLD, KEY)).value == Street(note="old release")


def test_decode_of_older_schema_takes_defaults_and_upgrades() -> None:
    found = stored(decode(encode(Street((Lamp("a"),)), OLD), NEW, KEY))
    assert found.value == NewStreet((NewLamp("a"),))
    assert found.note == "written with schema 1, read as schema 2"
    third = Schema(Street, 3, upgrades={2: lambda body: {"note": body["text"]}})
    assert stored(decode({"schema": 2, "text": "x"}, third, KEY)).value == Street(note="x")


def test_upgrade_that_fails_makes_the_item_unreadable() -> None:
    third = Schema(Street, 3, upgrades={1: lambda body: {"note": body["text"]}})
    found = decode({"schema": 1}, third, KEY)
    assert isinstance(found, Unreadable)
    assert "KeyError: 'text'" in found.because


def test_encode_of_field_with_reserved_name_is_refused() -> None:
    class Clash(State, frozen=True):
        schema: int = 1

    with pytest.raises(TypeError, match="Clash has a field schema"):
        encode(Clash(), Schema(Clash))
