"""The handler of a runner Lambda, around what it runs."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from chalicelib.runner import descendants
from chalicelib.runner.process import end_environment

Asked = TypeVar("Asked")


def answer(event: object, asked: type[Asked], run: Callable[[Asked], object]) -> Any:
    """The result of `run` for `event`, as plain values. The environment ends with processes that outlive their run."""
    # Not on import, since tests and tools import this, too.
    descendants.adopt()
    request = msgspec.convert(event, asked)
    try:
        return msgspec.to_builtins(run(request))
    except descendants.Survivors as error:
        end_environment(error)
