"""The JSON schema of fleet.toml, with which editors complete and check it.

Keys, kinds and bounds come from the types of `Fleet`. The meaning of each key comes from the tables of docs/fleet.md.
Only `lamp check` knows the dependencies between keys. Draft 7 is the newest that editors' TOML extensions read.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from chalicelib.config import durations, fleet

# Where it stands in the product, and the copy beside a fleet.toml of one's own.
FILE, COPY = "docs/fleet.schema.json", "fleet.schema.json"
_SPAN = {"type": "string", "pattern": r"^(?:\d{1,9}[smhd])+$"}
_ROW = re.compile(r"^\| `(\w+)` \| .+? \| .+? \| (.+) \|$", re.M)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)|\[(`\[+[\w.]+\]+`)\]\([^)]*\)")

Schema = dict[str, Any]


def render(page: str) -> str:
    """The text of the schema's file. `page` is docs/fleet.md."""
    return json.dumps(schema(page), indent=1, ensure_ascii=False) + "\n"


def schema(page: str) -> Schema:
    """The schema of fleet.toml as a value. `LookupError` names a key that `page` does not describe."""
    known = inspect.type_info(fleet.DeclaredFleet)
    definitions: dict[str, Schema] = {}
    for part in (_Definitions(page, definitions, ""), _Definitions(page, definitions, "Stage")):
        part.table(known, "")
    whole = definitions["Fleet"]
    stages = {"type": "object", "additionalProperties": {"$ref": "#/definitions/StageFleet"},
              "description": "Keys that hold in one stage alone, over those above ([stages.NAME])."}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "fleet.toml", **whole,
            "properties": {**whole["properties"], "stages": stages},
            "definitions": {name: part for name, part in definitions.items() if name != "Fleet"}}


class _Definitions:
    """Fills `into` with one definition for each table. With a `prefix` no key of it is required."""

    def __init__(self, page: str, into: dict[str, Schema], prefix: str) -> None:
        self._page, self._into, self._prefix = page, into, prefix
        self._known: dict[str, type] = {}

    def table(self, kind: inspect.Type, path: str, *, many: bool = False) -> Schema:
        """A reference to the definition of the struct `kind`, which stands at `path` of the file."""
        if not isinstance(kind, inspect.StructType):
            raise TypeError(f"fleet.toml: {path or 'the file'} is no table but {kind}")
        name, heading = self._prefix + kind.cls.__name__.removeprefix("Declared"), _heading(path, many)
        if self._known.setdefault(name, kind.cls) is not kind.cls:
            raise TypeError(f"fleet.toml: {path}: two types are called {name}. Rename one")
        if name not in self._into:
            self._into[name] = {}  # a table may hold itself
            told = dict(meanings(self._page, heading))
            keys = {field.encode_name: self._key(field, path, told, heading) for field in kind.fields}
            self._into[name] = {
                "title": heading, "type": "object", "description": _plain(kind.cls.__doc__ or ""), "properties": keys,
                "required": [] if self._prefix else [field.encode_name for field in kind.fields if field.required],
                "additionalProperties": False}
        return {"$ref": f"#/definitions/{name}"}

    def _key(self, field: inspect.Field, path: str, told: dict[str, str], heading: str) -> Schema:
        if field.encode_name not in told:
            raise LookupError(f"docs/fleet.md: {heading} has no row for the key {field.encode_name!r}. Add it")
        made = self._value(field.type, f"{path}.{field.encode_name}".strip("."))
        default = field.default
        if isinstance(default, durations.Duration):
            made["default"] = durations.words(default)
        elif isinstance(default, str | int | float) or (isinstance(default, tuple) and default):
            made["default"] = msgspec.to_builtins(default)
        # Beside `$ref` a reader of draft 7 looks at nothing else.
        made = {"allOf": [made]} if "$ref" in made else made
        return {"description": told[field.encode_name], **made}

    def _value(self, kind: inspect.Type, path: str) -> Schema:
        match kind:
            case inspect.StructType():
                return self.table(kind, path)
            case inspect.UnionType(types=types):
                some = [self._value(one, path) for one in types if not isinstance(one, inspect.NoneType)]
                return some[0] if len(some) == 1 else {"anyOf": some}
            case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
                inner = self.table(item, path, many=True) if isinstance(item, inspect.StructType) else (
                    self._value(item, path))
                return {"type": "array", "items": inner, **_bounds(kind, minItems="min_length", maxItems="max_length")}
            case inspect.DictType(value_type=value, key_type=key):
                return {"type": "object", "propertyNames": self._value(key, path),
                        "additionalProperties": self._value(value, path)}
            case inspect.LiteralType(values=values):
                return {"enum": list(values)}
            case inspect.CustomType(cls=cls) if cls is durations.Duration:
                return dict(_SPAN)
            case inspect.Metadata(type=inner):
                return self._value(inner, path)
            case _:
                return _scalar(kind, path)


def _scalar(kind: inspect.Type, path: str) -> Schema:
    match kind:
        case inspect.StrType(pattern=pattern):
            # Python's end of text is `\Z`, JavaScript's `$`.
            found = {"pattern": pattern.replace(r"\Z", "$")} if pattern else {}
            return {"type": "string", **found, **_bounds(kind, minLength="min_length", maxLength="max_length")}
        case inspect.IntType():
            return {"type": "integer", **_bounds(kind, minimum="ge", maximum="le", exclusiveMinimum="gt",
                                                 exclusiveMaximum="lt")}
        case inspect.FloatType():
            return {"type": "number", **_bounds(kind, minimum="ge", maximum="le", exclusiveMinimum="gt",
                                                exclusiveMaximum="lt")}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.AnyType():
            return {}
        case _:
            raise TypeError(f"fleet.toml: {path}: a schema cannot say {kind}. Teach it to fleet_schema.py")


def _bounds(kind: inspect.Type, **names: str) -> Schema:
    """The bounds of `kind`, as the schema's word for each -> the type's."""
    return {word: getattr(kind, own) for word, own in names.items() if getattr(kind, own) is not None}


def _heading(path: str, many: bool) -> str:
    """The heading of docs/fleet.md below which the keys of a table stand."""
    return "the file" if not path else f"[[{path}]]" if many else f"[{path}]"


def meanings(page: str, heading: str) -> Iterator[tuple[str, str]]:
    """Each key of the table below `heading` and what it means, without markup."""
    section = re.search(rf"^##+ `?{re.escape(heading)}`?$(.*?)(?=^##|\Z)", page, re.M | re.S)
    if section is None:
        raise LookupError(f"docs/fleet.md: no heading {heading}. Add it, with a row for each key")
    for key, meaning in _ROW.findall(section[1]):
        yield key, _plain(_LINK.sub(lambda link: link[1] or link[2], meaning))


def _plain(text: str) -> str:
    return " ".join(text.replace("**", "").split())


def main(root: Path) -> None:
    """Write the file anew."""
    (root / FILE).write_text(render((root / "docs" / "fleet.md").read_text()))


if __name__ == "__main__":
    main(Path(__file__).resolve().parents[2])
