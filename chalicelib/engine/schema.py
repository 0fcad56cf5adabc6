"""How a typed value is kept as the JSON body of a stored item, across releases. Pure.

A body is the value's own fields, beside two of the engine. `schema` is the number of its shape, and `run_id` the run
that wrote it. A body that does not fit is an `Unreadable`. It names the item and the reason. So a caller goes on with
the rest, never guesses, and raises one alert (`alert_text.unreadable_alert`).

    class TunnelState(State, frozen=True):
        members: tuple[Member, ...] = ()        # Member derives from State, too

    SCHEMA = Schema(TunnelState, 2, upgrades={1: lambda body: {"members": body["slots"]}})
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")

_RESERVED = ("schema", "run_id")


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of every stored value and of every value inside one. A field that it does not know makes it unreadable.

    A field that is added later needs a default, so that what an older release wrote can still be read.
    """


class Schema(msgspec.Struct, Generic[T], frozen=True):
    """The type of a stored value and the number of its present shape.

    The number grows by one whenever a field is added, removed or changed. `upgrades[n]` turns a body of shape `n` into
    one of shape `n + 1`. Without one the body is read as it is, and missing fields take their defaults.
    """

    type: type[T]
    number: int = 1
    upgrades: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


class ItemKey(msgspec.Struct, frozen=True):
    """The store and the key of an item. `store` is its table as people find it, for example `lamp-prod in eu-west-1`.
    """

    store: str
    pk: str
    sk: str

    def __str__(self) -> str:
        return f"{self.pk}/{self.sk} in {self.store}"


class Unreadable(msgspec.Struct, frozen=True):
    """An item that cannot be read, and why. Nothing may be concluded from it, not even that it is not there."""

    key: ItemKey
    because: str

    def __str__(self) -> str:
        return f"{self.key}: {self.because}"


class Stored(msgspec.Struct, Generic[T], frozen=True):
    """A value as it was read. `version` is what a compare-and-set asks for. 0 means that nothing is stored yet.

    `run_id` is the run that wrote it. `unknown` holds top-level fields of a newer release, which the next write keeps.
    `note` says that another release wrote it. It is empty otherwise. `raw_version` is that of an item of another
    making, and `write_id` the mark of the last write, as `chalicelib.aws.store.Item` has them.
    """

    value: T
    version: int = 0
    run_id: str = ""
    schema: int = 0
    unknown: dict[str, Any] = {}
    note: str = ""
    raw_version: dict[str, Any] | None = None
    write_id: str = ""


def encode(value: Any, schema: Schema[Any], *, run_id: str = "", before: Stored[Any] | None = None) -> dict[str, Any]:
    """The body that `decode` reads back. With `before`, fields of a newer release stay, and its number with them."""
    plain: dict[str, Any] = msgspec.to_builtins(value)
    if clash := [name for name in _RESERVED if name in plain]:
        raise TypeError(f"{type(value).__name__} has a field {clash[0]}, which the engine writes itself. Rename it")
    number = max(schema.number, before.schema) if before else schema.number
    unknown = before.unknown if before else {}
    return {**unknown, **plain, "schema": number, "run_id": run_id}


def decode(body: object, schema: Schema[T], key: ItemKey, *, version: int = 0) -> Stored[T] | Unreadable:
    """The value that `body` holds, or why it cannot be read. Never raises for what a body may contain."""
    if not isinstance(body, dict) or not body:
        return Unreadable(key, "its body is empty" if not body else f"its body is no object but {_kind(body)}")
    number, run_id = body.get("schema"), body.get("run_id", "")
    if type(number) is not int or number < 1 or not isinstance(run_id, str):
        return Unreadable(key, "it has no schema number, so Lamplighter did not write it, or a release before 1.0 did")
    plain = {name: value for name, value in body.items() if name not in _RESERVED}
    try:
        unknown: dict[str, Any] = {}
        if number > schema.number:
            known, lost = _understood(plain, schema.type)
            unknown = {name: value for name, value in plain.items() if name not in known}
            value, note = msgspec.convert(known, schema.type), _newer(number, schema.number, lost)
        else:
            value = msgspec.convert(_upgraded(plain, schema, number), schema.type)
            note = f"written with schema {number}, read as schema {schema.number}" if number < schema.number else ""
    except msgspec.ValidationError as error:
        return Unreadable(key, f"schema {number} here, {schema.number} in this release: {error}")
    except Exception as error:
        # An upgrade takes what an older release wrote for granted; a body of another making may break it anyhow.
        return Unreadable(key, f"schema {number} cannot be read as {schema.number}: {type(error).__name__}: {error}")
    return Stored(value, version, run_id, number, unknown, note)


def _upgraded(plain: dict[str, Any], schema: Schema[Any], number: int) -> dict[str, Any]:
    for old in range(number, schema.number):
        if upgrade := schema.upgrades.get(old):
            plain = upgrade(plain)
    return plain


def _newer(number: int, ours: int, lost: list[str]) -> str:
    fields = f". This release does not know {', '.join(sorted(lost))}" if lost else ""
    return f"written by a newer release (schema {number}, this one understands {ours}){fields}"


def _understood(plain: dict[str, Any], type_: Any) -> tuple[dict[str, Any], list[str]]:
    """The known fields of `plain` in the type, at any depth, and the paths of the unknown ones."""
    lost: list[str] = []

    def part(value: Any, info: Any, path: str) -> Any:
        if isinstance(info, inspect.UnionType):
            fitting = [one for one in info.types if _may_hold(value, one)]
            return part(value, fitting[0], path) if len(fitting) == 1 else value
        if isinstance(info, inspect.StructType) and isinstance(value, dict):
            fields = {field.encode_name: field.type for field in info.fields}
            tag = {info.tag_field} if info.tag_field else set()
            lost.extend(f"{path}{name}" for name in value if name not in fields and name not in tag)
            return {name: part(inner, fields[name], f"{path}{name}.") if name in fields else inner
                    for name, inner in value.items() if name in fields or name in tag}
        if isinstance(info, inspect.DictType) and isinstance(value, dict):
            return {name: part(inner, info.value_type, f"{path}{name}.") for name, inner in value.items()}
        if isinstance(info, inspect.TupleType) and isinstance(value, list | tuple):
            return [part(inner, one, path) for inner, one in zip(value, info.item_types, strict=False)]
        if isinstance(info, inspect.CollectionType) and isinstance(value, list | tuple):
            return [part(inner, info.item_type, path) for inner in value]
        return value

    def _may_hold(value: Any, info: Any) -> bool:
        if isinstance(info, inspect.StructType) and isinstance(value, dict):
            return info.tag_field is None or value.get(info.tag_field) == info.tag
        sequence = isinstance(info, inspect.CollectionType | inspect.TupleType) and isinstance(value, list | tuple)
        return sequence or (isinstance(info, inspect.DictType) and isinstance(value, dict))

    return part(plain, inspect.type_info(type_), ""), sorted(set(lost))


def _kind(value: object) -> Literal["a list", "a text", "a number"]:
    return "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else "a number"
