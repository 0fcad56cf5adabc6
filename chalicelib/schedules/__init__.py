"""Jobs on a schedule. A file of cron/ needs only `from chalicelib.schedules import job`."""

# The module `job` is loaded before the decorator takes its place as an attribute of this package: an import of a
# module sets that attribute once, the first time. `from chalicelib.schedules.job import Job` works all the same.
from chalicelib.schedules import job as _module  # noqa: F401
from chalicelib.schedules.decorator import job

__all__ = ["job"]
