"""The functions that are tasks. `@task(...)` registers them, and `load` imports the modules of tasks/.

A task stays a plain function, and a call runs it here and now. Its name is `module.function`, with the module's path
under tasks/ (tasks/billing/pdf.py gives `billing.pdf.render`).
"""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, overload

import msgspec

from chalicelib.config import durations

KeyFrom: TypeAlias = str | tuple[str, ...] | Callable[..., str] | None
Limits: TypeAlias = tuple[int | None, int | None, int | None, int]
F = TypeVar("F", bound=Callable[..., Any])
Key = Callable[[Mapping[str, Any]], str]

# What `send` takes for itself; an argument of that name could never be sent.
RESERVED = frozenset({"delay", "key", "queue", "group", "id", "meta"})


class TaskError(Exception):
    """A task is declared wrongly. The text names file, line and remedy."""


class Task(msgspec.Struct, frozen=True):
    """One declared task. `retries` and `timeout` (seconds) are `None` where the queue's own hold.

    `key_arguments` are the names of the arguments that `key` is made of. Without them it is a function of the user's.
    """

    name: str
    function: Callable[..., Any]
    queue: str
    retries: int | None
    timeout: int | None
    concurrency: int | None
    key: Key | None
    remember: int
    required: frozenset[str]
    allowed: frozenset[str] | None
    file: str
    line: int
    key_arguments: tuple[str, ...] = ()

    def accepts(self, args: Mapping[str, Any]) -> bool:
        """Whether the task can be called with `args`."""
        names = args.keys()
        return self.required <= names and (self.allowed is None or names <= self.allowed)

    def argument_error(self, args: Mapping[str, Any]) -> str:
        """The fault of a call of the task with `args`. Empty if nothing is."""
        if missing := self.required - args.keys():
            return f"{self.name} needs the argument {', '.join(sorted(missing))} ({self.file}:{self.line})"
        if self.allowed is not None and (extra := args.keys() - self.allowed):
            return f"{self.name} has no argument {', '.join(sorted(extra))} ({self.file}:{self.line})"
        return ""


class Registry:
    """The tasks known by name, and the modules that could not be imported, with the reason."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.broken: dict[str, str] = {}

    def add(self, found: Task) -> None:
        """Take up a task. A second one of the same name elsewhere is a mistake."""
        other = self.tasks.get(found.name)
        if other and other.file != found.file:
            raise TaskError(f"{found.file}:{found.line}: the task {found.name} stands at {other.file}:{other.line}"
                            " already. Rename one")
        self.tasks[found.name] = found

    def why_unknown(self, name: str) -> str:
        """Why no task is called `name`, in words for whoever sent the message."""
        if broken := self.broken_module(name):
            return broken
        known = ", ".join(sorted(self.tasks)) or "none at all"
        return f"there is no task {name!r}. Declare it with @task under tasks/, or correct the sender (known: {known})"

    def broken_module(self, name: str) -> str:
        """The reason why the module of the task `name` could not be imported. Empty if that is not the trouble."""
        return self.broken.get(name.rpartition(".")[0], "")


REGISTRY = Registry()


@overload
def task(function: F) -> F: ...
@overload
def task(*, retries: int | None = ..., timeout: str | None = ..., concurrency: int | None = ...,
         key: KeyFrom = ..., remember: str = ...,
         queue: str = ...) -> Callable[[F], F]: ...


def task(
    function: F | None = None, *, retries: int | None = None, timeout: str | None = None,
    concurrency: int | None = None, key: KeyFrom = None,
    remember: str = "1d", queue: str = "default",
) -> F | Callable[[F], F]:
    """Declare a function as a task. Time-outs are spans such as "2m".

    `concurrency` is the largest number of runs at the same time in a region. `key` is the name of the argument (or
    names, or a function of the arguments) that identifies a piece of work. It runs once within the span `remember`.
    `retries` and `timeout` default to the queue's in fleet.toml. `TaskError` names what is wrong.
    """

    def note(plain: F) -> F:
        place = _place(plain)
        limits = _limits(place, retries, timeout, concurrency, remember)
        REGISTRY.add(_task(plain, place, queue, key, limits))
        return plain

    return note(function) if function else note


def load(folder: Path, registry: Registry = REGISTRY) -> Registry:
    """Import every module under `folder` (its parent must be the root of the project).

    One that fails is noted in `broken` and does not keep the others from running.
    """
    root = str(folder.resolve().parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    for name in _modules(folder):
        try:
            importlib.import_module(f"{folder.name}.{name}")
        except (Exception, SystemExit) as error:  # its owner's module may even end the process
            registry.broken[name] = import_failure(error, f"{folder.name}/{name.replace('.', '/')}.py")
    return registry


def _modules(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        if not any(part.startswith(("_", ".")) for part in parts):
            yield ".".join(parts)


def import_failure(error: Exception | SystemExit, file: str) -> str:
    """Why the module `file` of tasks/ cannot be imported, with its line, a syntax error's column, and the remedy."""
    if isinstance(error, SyntaxError) and (error.filename or "").endswith(file):
        what = f"{type(error).__name__}: {error.msg}"
        return f"{file}:{error.lineno or 1}:{error.offset or 1}: does not import ({what}). Correct it and deploy again"
    line = None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.endswith(file):
            line = frame.lineno
    what = str(error) if isinstance(error, TaskError) else f"{type(error).__name__}: {error}"
    return f"{file}:{line or 1}: does not import ({what}). Correct it and deploy again"


def _place(function: Callable[..., Any]) -> tuple[str, int]:
    code = getattr(function, "__code__", None)
    if code is None or not inspect.isfunction(function):
        raise TaskError(f"{function!r}: @task belongs on a plain function")
    if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        raise TaskError(f"{_short(code.co_filename)}:{code.co_firstlineno}: {function.__name__} is async or a "
                        "generator. A task is a plain function. Call asyncio.run inside it")
    return _short(code.co_filename), int(code.co_firstlineno)


def _short(file: str) -> str:
    parts = Path(file).parts
    return "/".join(parts[len(parts) - parts[::-1].index("tasks") - 1:]) if "tasks" in parts else file


def _limits(
    place: tuple[str, int], retries: int | None, timeout: str | None, concurrency: int | None, remember: str
) -> Limits:
    where = f"{place[0]}:{place[1]}"
    try:
        seconds, kept = timeout and durations.seconds(timeout), durations.seconds(remember)
    except (ValueError, TypeError) as error:
        raise TaskError(f"{where}: timeout or remember: {error}") from None
    for name, value, low, high in (("retries", retries, 0, 100), ("concurrency", concurrency, 1, 1000)):
        if value is not None and not (type(value) is int and low <= value <= high):
            raise TaskError(f"{where}: {name}={value!r}: must be a whole number between {low} and {high}. Leave it out "
                            "for the queue's retries, or for no limit on concurrency")
    if seconds is not None and not seconds:
        raise TaskError(f"{where}: timeout={timeout!r}: must be at least 1s")
    return retries, int(seconds) if seconds else None, concurrency, kept


def _task(
    function: Callable[..., Any], place: tuple[str, int], queue: str, key: KeyFrom, limits: Limits,
) -> Task:
    where = f"{place[0]}:{place[1]}"
    named = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    for parameter in named:
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL) or parameter.name in RESERVED:
            raise TaskError(f"{where}: the argument {parameter.name!r} cannot be sent. Arguments travel by name, and "
                            f"{', '.join(sorted(RESERVED))} are send's own. Rename it")
    allowed = frozenset(p.name for p in named)
    open_ended = len(named) < len(inspect.signature(function).parameters)
    retries, timeout, concurrency, remember = limits
    module = function.__module__.removeprefix("tasks.")
    return Task(
        name=f"{module}.{function.__qualname__}", function=function, queue=queue, retries=retries, timeout=timeout,
        concurrency=concurrency, key=_key(key, allowed, where), remember=remember,
        required=frozenset(p.name for p in named if p.default is p.empty), allowed=None if open_ended else allowed,
        file=place[0], line=place[1], key_arguments=_named_key(key))


def _key(key: KeyFrom, allowed: frozenset[str], where: str) -> Key | None:
    if key is None:
        return None
    if callable(key):
        make = key
        return lambda args: str(make(**args))
    names = _named_key(key)
    if unknown := set(names) - allowed:
        raise TaskError(f"{where}: key={key!r}: the function has no argument {', '.join(sorted(unknown))}")
    return key_of(names)


def _named_key(key: KeyFrom) -> tuple[str, ...]:
    if key is None or callable(key):
        return ()
    return (key,) if isinstance(key, str) else tuple(key)


def key_of(names: tuple[str, ...]) -> Key:
    """The function that makes the key of a message from these arguments."""
    return lambda args: msgspec.json.encode([args.get(name) for name in names]).decode()
