"""Nothing that a simulated operation would log or count is written: it costs more than the operation."""

from collections.abc import Iterator
from contextlib import contextmanager

from chalicelib.engine import metrics


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines and no metrics meanwhile, which are log lines, too."""
    level, write = metrics.logger.log_level, metrics._write
    metrics.logger.setLevel("CRITICAL")
    metrics._write = lambda *words: None
    try:
        yield
    finally:
        metrics.logger.setLevel(level)
        metrics._write = write
