"""The waiting time of a message. Pure arithmetic, the same for the same message in every process."""

import hashlib

# SQS hides a message for 12 hours at most, counted from when it was received; a Lambda may have had it for 30 minutes.
CEILING = 12 * 3600 - 1800
FIRST = 10
_BUSY_LONGEST = 1800


def retry(attempt: int, message: str) -> int:
    """Seconds until the next try after `attempt` (from 1) failed, exponential with full jitter.

    Full jitter spreads the retries of a mass failure evenly over the whole span (1 s to 10 s x 2^(attempt - 1)), see
    "Exponential Backoff and Jitter" in the AWS Architecture Blog.
    """
    span: int = min(CEILING, FIRST * 2 ** min(attempt - 1, 20))
    return max(1, round(span * _fraction(f"{message}/{attempt}")))


def busy(age: float, message: str, waits: int) -> int:
    """Seconds until a message of that age (seconds) that found no permit tries again, about a tenth of its age.

    So waiting adds little to the delay that there is anyway, and one stuck for days is not looked at each second.
    """
    span = min(_BUSY_LONGEST, max(4.0, age / 10))
    return max(1, round(span * (0.5 + _fraction(f"{message}/wait/{waits}"))))


def _fraction(seed: str) -> float:
    """A number in [0, 1) that depends on nothing but `seed`."""
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=6).digest()) / 2**48
