"""Nothing that a simulated operation would log or count is written: it costs more than the operation."""

from collections.abc import Iterator
from contextlib import contextmanager

from chalicelib.engine import metrics

_LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines and no metrics meanwhile, which are log lines, too."""
    write = metrics._write
    for level in _LEVELS:
        # A level alone would not do: Powertools puts each line together before it looks at that.
        setattr(metrics.logger, level, _nothing)
    metrics._write = _nothing
    try:
        yield
    finally:
        for level in _LEVELS:
            delattr(metrics.logger, level)
        metrics._write = write


def _nothing(*words: object, **more: object) -> None:
    """Writes nothing."""
