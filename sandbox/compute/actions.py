"""Replacing actions of the emulator's query services, by the same checked mechanism as every other change.

A query service keeps its handlers in a table `_ACTION_MAP` (action -> function of the parameters). A handler is
replaced both in its module and in that table.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from sandbox.emulator_patches import Context, Moved, change

Parameters = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]
Handler = Callable[[Parameters], Answer]
Build = Callable[[Handler, Context], Handler]


def handler(service: str, symbol: str, action: str, parameter: str, reason: str) -> Callable[[Build], Build]:
    """Register the decorated builder for the answers of `action`. It gets the original and returns its replacement."""
    def register(build: Build) -> Build:
        @change(f"services.{service}", symbol, parameter, reason)
        def place(original: Handler, context: Context) -> Handler:
            table = import_module(f"ministack.services.{service}")._ACTION_MAP
            if table.get(action) is not original:
                raise Moved(f"ministack's {service} does not answer {action} by {symbol} ({reason})")
            table[action] = build(original, context)
            made: Handler = table[action]
            return made
        return build
    return register


class Table(dict[str, Handler]):
    """An `_ACTION_MAP` that can carry the mark of its change."""


def added(service: str, reason: str) -> Callable[[Callable[[Context], dict[str, Handler]]], Any]:
    """Register the decorated function, which gives handlers of actions that the emulator does not know."""
    def register(build: Callable[[Context], dict[str, Handler]]) -> Any:
        @change(f"services.{service}", "_ACTION_MAP", "", reason)
        def place(original: dict[str, Handler], context: Context) -> Table:
            new = build(context)
            if known := original.keys() & new.keys():
                raise Moved(f"ministack's {service} now knows {', '.join(sorted(known))} itself ({reason})")
            return Table(original | new)
        return build
    return register


def text(parameters: Parameters, name: str, default: str = "") -> str:
    """One parameter of a query request."""
    value = parameters.get(name, default)
    return str(value[0] if isinstance(value, list) else value)


def members(parameters: Parameters, prefix: str) -> list[str]:
    """A list of a query request, `prefix.1` (EC2) or `prefix.member.1` (the others)."""
    found = []
    for form in ("{}.{}", "{}.member.{}"):
        number = 1
        while value := text(parameters, form.format(prefix, number)):
            found.append(value)
            number += 1
    return found
