"""The compiled schedules of this release: read once a process from the files that the package carries."""

from functools import cache
from pathlib import Path

from chalicelib.crontab.job_file import JobFile
from chalicelib.crontab.timetable import Timetable


@cache
def timetable(root: Path) -> Timetable:
    """When each job of the release below `root` is due."""
    return Timetable.load((root / "timetable.bin").read_bytes())


@cache
def book(root: Path) -> JobFile:
    """What each job of the release below `root` is."""
    return JobFile.load((root / "jobs.bin").read_bytes())
