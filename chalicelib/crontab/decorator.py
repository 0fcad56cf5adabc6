"""Python functions as jobs, by `@job("0 3 * * *", tz="Europe/Stockholm")` above a function without arguments.

The decorator only takes notes, so that importing a file of jobs costs nothing. Packaging checks its arguments
(declared.py).
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

Function = TypeVar("Function", bound=Callable[[], object])


class Declared(NamedTuple):
    """The arguments of a decorator, with the policy's keys (see policy.py) as text, and its line (from 1)."""

    function: Callable[[], object]
    schedule: str
    tz: str | None
    options: dict[str, str]
    line: int


REGISTRY: list[Declared] = []


def job(
    schedule: str,
    *,
    tz: str | None = None,
    name: str | None = None,
    overlap: str | None = None,
    timeout: str | None = None,
    catch_up: str | None = None,
    retries: int | None = None,
    jitter: str | None = None,
    alarm_on: str | None = None,
) -> Callable[[Function], Function]:
    """Runs the function below at each `schedule` (five fields, or `@daily` and the like).

    `tz` is an IANA name, by default that of fleet.toml. The other options are those of `# lamp:` comments. The function
    is called without arguments in a process of its own. Its printed text is the run's output. An exception or
    `sys.exit` with a status other than 0 is a failed run.
    """
    if not isinstance(schedule, str):
        raise TypeError('@job needs a schedule: write @job("0 3 * * *")')
    wishes = {
        "name": name,
        "overlap": overlap,
        "timeout": timeout,
        "catch_up": catch_up,
        "retries": retries,
        "jitter": jitter,
        "alarm_on": alarm_on,
    }
    options = {key: str(value) for key, value in wishes.items() if value is not None}

    def note(function: Function) -> Function:
        code = getattr(function, "__code__", None)
        REGISTRY.append(Declared(function, schedule, tz, options, code.co_firstlineno if code else 1))
        return function

    return note
