"""Sample tasks for seeing how failures are dealt with."""

from lamplighter import Call, current, send_many, task


@task(retries=3, timeout="10s")
def sweep(number: int, fail_once: bool = False) -> str:
    """Sweeps lamp `number`; with `fail_once` only at the second try, as things that go over a network do."""
    if fail_once and current().attempt == 1:
        raise ConnectionError(f"lamp {number} did not answer")
    return f"lamp {number} is clean"


@task(timeout="10s", key=("day", "lamps"))
def rounds(day: str, lamps: int) -> None:
    """Has every lamp swept, once a day: a task that sends tasks."""
    send_many([Call("chores.sweep", {"number": number}, key=f"{day}/{number}") for number in range(lamps)])


@task(retries=0, timeout="10s")
def poison(number: int) -> None:
    """Fails, always, and has no retries."""
    raise ValueError(f"lamp {number} cannot be swept")
