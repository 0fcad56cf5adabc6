"""Which lines of some modules a piece of work executes: how a test proves that a simulation runs the product.

    executed = lines_executed(lambda: simulate(1), ["chalicelib.tunnels.act", "chalicelib.tunnels.observe"])
    assert executed["chalicelib.tunnels.act"].share > 0.9, executed["chalicelib.tunnels.act"].missing

A line counts if it belongs to the body of a function, because the lines of an import prove nothing. Greenlets are
followed.
"""

import dis
import importlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import CodeType, FrameType
from typing import Any

import greenlet
import msgspec


class Executed(msgspec.Struct, frozen=True):
    """The lines of a module's functions that were executed, and all others of them."""

    module: str
    lines: frozenset[int]
    missing: tuple[int, ...]

    @property
    def share(self) -> float:
        """From 0 to 1. 1 for a module without functions."""
        total = len(self.lines) + len(self.missing)
        return len(self.lines) / total if total else 1.0


def lines_executed(work: Callable[[], object], modules: Sequence[str]) -> dict[str, Executed]:
    """Runs `work`. The executed lines of each of `modules`, by their names. Work in other threads is not seen."""
    return lines_executed_by([work], modules, enough=1.0)


def lines_executed_by(works: Iterable[Callable[[], object]], modules: Sequence[str], enough: float
                      ) -> dict[str, Executed]:
    """As `lines_executed`, of one work after another, until the share of each module is over `enough`."""
    files = {str(importlib.import_module(name).__file__): name for name in modules}
    hits: dict[str, set[int]] = {file: set() for file in files}
    bodies = {file: _body(file) for file in files}
    for work in works:
        _traced(work, hits)
        if all(len(lines & hits[file]) > enough * len(lines) for file, lines in bodies.items()):
            break
    return {name: Executed(name, bodies[file] & hits[file], tuple(sorted(bodies[file] - hits[file])))
            for file, name in files.items()}


def _traced(work: Callable[[], object], hits: Mapping[str, set[int]]) -> None:
    # The lines of each function that have not been seen. A function without any runs at its own speed.
    unseen: dict[CodeType, set[int]] = {}

    def local(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            hits[frame.f_code.co_filename].add(frame.f_lineno)
            unseen[frame.f_code].discard(frame.f_lineno)
        return local

    def begin(frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if code.co_filename not in hits:
            return None
        if code not in unseen:
            unseen[code] = set(_lines(code)) - hits[code.co_filename]
        return local if unseen[code] else None

    def switched(event: str, arguments: object) -> None:
        # Each greenlet has a trace function of its own.
        if sys.gettrace() is not begin:
            sys.settrace(begin)

    before, before_switch = sys.gettrace(), greenlet.gettrace()
    greenlet.settrace(switched)
    threading.settrace(begin)
    sys.settrace(begin)
    try:
        work()
    finally:
        sys.settrace(before)
        greenlet.settrace(before_switch)
        threading.settrace(None)


def _body(file: str) -> frozenset[int]:
    with open(file, encoding="utf-8") as source:  # noqa: PTH123 - the very name that frames have
        code = compile(source.read(), file, "exec")
    return frozenset(line for function in _functions(code) for line in _lines(function))


def _functions(code: CodeType) -> Iterator[CodeType]:
    """All functions in a module's code, at any depth. The bodies of classes are executed by the import."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & inspect.CO_NEWLOCALS:
                yield constant
            yield from _functions(constant)


def _lines(code: CodeType) -> Iterator[int]:
    # The line of `def` itself is executed by whoever defines it.
    return (line for _, line in dis.findlinestarts(code) if line != code.co_firstlineno or code.co_name == "<lambda>")
