"""The demo's tasks. One fails at its first try if asked to, as things that go over a network do, and one always."""

from lamplighter import current, task


@task(queue="lamplighter-demo", retries=3, timeout="10s")
def sweep(number: int, fail_once: bool = False) -> str:
    """Sweeps lamp `number`; with `fail_once` only at the second try."""
    if fail_once and current().attempt == 1:
        raise ConnectionError(f"lamp {number} did not answer")
    return f"lamp {number} is clean"


@task(queue="lamplighter-demo", retries=0, timeout="10s")
def poison(number: int) -> None:
    """Fails, always, and has no retries."""
    raise ValueError(f"lamp {number} cannot be swept")
