"""One lost answer for each external call in turn, enumerated and not sampled.

A call to AWS may fail in two ways that its caller cannot distinguish, before it took effect or after. A scenario makes
its world, runs an operation, and checks what must hold in the end. `check_every_lost_answer` runs it once to count the
operation's external calls. Then it runs it twice for each of them, with that one answer lost.

    def scenario(calls: Calls) -> None:
        world = World()
        with calls.counted():                                  # here an answer may get lost
            with contextlib.suppress(RunFailed, Unavailable):  # the run may fail: that is no harm
                run(OPERATION, calls.wrap_context(world.context), EVENT)
        run(OPERATION, world.context, NEXT_EVENT)              # the next run sees all answers
        assert world.restarts == 1 and world.subjects == ["TunnelDown: slot a"]

    def test_repair_with_one_lost_answer_restarts_once_and_tells_people() -> None:
        check_every_lost_answer(scenario)
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeVar, cast

import msgspec

from chalicelib.aws.client import Unavailable

When = Literal["before", "after"]
T = TypeVar("T")

# What of a context is no port: it is passed on as it is.
_PLAIN = (str, bytes, int, float, bool, type(None))


class LostAnswer(msgspec.Struct, frozen=True):
    """Which external call of the counted part gives no answer (from 1), and whether it has taken effect by then."""

    number: int
    when: When
    call: str = ""

    def __str__(self) -> str:
        effect = "before it took effect" if self.when == "before" else "after it took effect"
        return f"call {self.number} ({self.call}), answer lost {effect}"


class Calls:
    """Counts external calls while `counted`, and loses one answer. `names` are those of the counted part."""

    def __init__(self, lost: LostAnswer | None = None, error: Callable[[str], Exception] = Unavailable) -> None:
        self.names: list[str] = []
        self.is_lost = False
        self._lost, self._error = lost, error
        self._counting = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        """The part in which an answer may get lost."""
        self._counting = True
        try:
            yield
        finally:
            self._counting = False

    def wrap(self, port: T, name: str) -> T:
        """`port`, each method of which is an external call named `name.method`. Its attributes are passed on."""
        return cast("T", _Port(self, port, name))

    def wrap_context(self, context: T, prefix: str = "") -> T:
        """A context (or a struct of ports) with every port in it wrapped, also in mappings and structs of ports."""
        found: Any = context
        fields = [name for name in found.__struct_fields__ if _has_ports(getattr(context, name))]
        changed: Any = {name: self._wrapped(getattr(context, name), prefix + name) for name in fields}
        wrapped: T = msgspec.structs.replace(found, **changed)
        return wrapped

    def call(self, name: str, effect: Callable[[], T]) -> T:
        """Carries out one external call, unless its answer is the one to get lost."""
        if not self._counting:
            return effect()
        self.names.append(name)
        lost = self._lost if self._lost and self._lost.number == len(self.names) else None
        if lost and lost.when == "before":
            self.is_lost = True
            raise self._error(f"{name}: no answer (lost before it took effect)")
        if not lost:
            return effect()
        self.is_lost = True
        # A refusal is an answer, too, and gets lost like any other.
        with suppress(Exception):
            effect()
        raise self._error(f"{name}: no answer (lost after it took effect)")

    def _wrapped(self, value: Any, name: str) -> Any:
        if not _has_ports(value):
            return value
        if isinstance(value, Mapping):
            return {key: self._wrapped(port, f"{name}[{key}]") for key, port in value.items()}
        if isinstance(value, msgspec.Struct):
            return self.wrap_context(value, f"{name}.")
        return self.wrap(value, name)


class _Port:
    def __init__(self, calls: Calls, port: Any, name: str) -> None:
        self._calls, self._port, self._name = calls, port, name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._port, attribute)
        if not callable(value):
            return value
        name = f"{self._name}.{attribute}"
        return lambda *args, **arguments: self._calls.call(name, lambda: value(*args, **arguments))


def check_every_lost_answer(
    scenario: Callable[[Calls], None], *, error: Callable[[str], Exception] = Unavailable, least_calls: int = 1,
) -> list[LostAnswer]:
    """Runs `scenario` for each external call that its counted part makes. The answers that were lost, in turn.

    `error` makes what a lost call raises. Raises `AssertionError` with every loss for which the scenario fails. It also
    raises if the counted part makes fewer than `least_calls`, because a scenario without calls proves nothing.
    """
    quiet = Calls(error=error)
    scenario(quiet)
    if len(quiet.names) < least_calls:
        raise AssertionError(f"the scenario makes {len(quiet.names)} external calls, {least_calls} at least expected. "
                             "Does its operation get the context of `calls.wrap_context`?")
    whens: tuple[When, When] = ("before", "after")
    cases = [LostAnswer(number, when, name) for number, name in enumerate(quiet.names, 1) for when in whens]
    failures = []
    for case in cases:
        calls = Calls(case, error)
        try:
            scenario(calls)
        except Exception as failure:
            failures.append(f"{case}: {type(failure).__name__}: {failure}")
        else:
            # A scenario with chance in it may make other calls the second time: then nothing was tried.
            if not calls.is_lost:
                failures.append(f"{case}: the scenario made only {len(calls.names)} calls this time")
    if failures:
        raise AssertionError(f"{len(failures)} of {len(cases)} lost answers do harm:\n" + "\n".join(failures))
    return cases


def _has_ports(value: Any) -> bool:
    """Whether a context's field reaches outside. Such a field is not plain data, nor a function, nor a struct of plain
    data."""
    if isinstance(value, Mapping):
        return any(map(_has_ports, value.values()))
    if isinstance(value, msgspec.Struct):
        return any(_has_ports(getattr(value, field)) for field in value.__struct_fields__)
    return _is_port(value)


def _is_port(value: Any) -> bool:
    if isinstance(value, (*_PLAIN, tuple, list, set, frozenset, dict, msgspec.Struct)) or callable(value):
        return False
    return not type(value).__module__.startswith(("pathlib", "datetime", "collections"))
