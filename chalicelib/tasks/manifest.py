"""The declarations of the tasks in a package, for those who must not run the modules of tasks/.

`build` writes them when the package is made. A module of tasks/ is users' code from its first line, so a worker with
authority never imports it. It knows by these declarations what each task takes, and how it is to run.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from chalicelib.tasks.registry import Registry, Task, key_of

# The file's name in the package.
FILE = "tasks.json"
# The zip's root in Lambda, the repository's elsewhere.
_ROOT = Path(__file__).resolve().parents[2]


class DeclaredTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """A `Task` without its functions."""

    name: str
    queue: str
    file: str
    line: int
    remember: int
    retries: int | None = None
    timeout: int | None = None
    concurrency: int | None = None
    key: Literal["none", "arguments", "function"] = "none"
    key_arguments: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    allowed: tuple[str, ...] | None = None


def build(registry: Registry) -> bytes:
    """The declarations of all tasks, in the order of their names."""
    return msgspec.json.encode([_declared(registry.tasks[name]) for name in sorted(registry.tasks)])


def load(content: bytes) -> Registry:
    """The tasks that `build` has written. Their functions cannot be called here."""
    registry = Registry()
    for declared in msgspec.json.decode(content, type=list[DeclaredTask]):
        registry.add(_task(declared))
    return registry


@cache
def packaged(root: Path = _ROOT) -> Registry | None:
    """The tasks of the package below `root`. `None` where there is no package."""
    path = root / FILE
    return load(path.read_bytes()) if path.is_file() else None


def _declared(task: Task) -> DeclaredTask:
    key: Literal["none", "arguments", "function"] = "none"
    if task.key is not None:
        key = "arguments" if task.key_arguments else "function"
    allowed = None if task.allowed is None else tuple(sorted(task.allowed))
    return DeclaredTask(
        task.name, task.queue, task.file, task.line, task.remember, task.retries, task.timeout, task.concurrency, key,
        task.key_arguments, tuple(sorted(task.required)), allowed)


def _task(declared: DeclaredTask) -> Task:
    key = {"none": None, "arguments": key_of(declared.key_arguments), "function": _elsewhere}[declared.key]
    allowed = None if declared.allowed is None else frozenset(declared.allowed)
    return Task(
        declared.name, _elsewhere, declared.queue, declared.retries, declared.timeout, declared.concurrency, key,
        declared.remember, frozenset(declared.required), allowed, declared.file, declared.line, declared.key_arguments)


def _elsewhere(args: Mapping[str, Any] | None = None, /, **named: Any) -> NoReturn:
    raise LookupError("users' code of tasks/ does not run here, but in its runner")
