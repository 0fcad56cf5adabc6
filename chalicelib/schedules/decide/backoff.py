"""By how much runs are put off, in seconds. Pure and repeatable."""

import hashlib

from chalicelib.crontab.job import Job, Target

# The longest delay that an SQS message can have.
SQS_MAX_DELAY = 900
_POST_AGAIN_SECONDS = 2


def jitter(job: Job, slot: str) -> int:
    """The delay of a run in seconds, within the job's `jitter=`, always the same for one slot."""
    if not job.policy.jitter:
        return 0
    spread = hashlib.sha256(f"{job.name}\0{slot}".encode()).digest()
    return int.from_bytes(spread[:8], "big") % (job.policy.jitter + 1)


def retry_delay(attempt: int, on: Target = "lambda") -> int:
    """Seconds until the attempt after `attempt` (from 1), which are 30 s, doubling, at most SQS's 15 minutes.

    A job of `on=http` is posted again after the 2 s that a worker environment of Elastic Beanstalk waits by default.
    """
    return _POST_AGAIN_SECONDS if on == "http" else int(min(SQS_MAX_DELAY, 30 * 2 ** (attempt - 1)))
