"""The compiled schedules of this release, read once a process from the files of the package."""

from functools import cache
from pathlib import Path

from chalicelib.crontab.job_file import JobFile
from chalicelib.crontab.timetable import Timetable


@cache
def timetable(root: Path) -> Timetable:
    """The jobs of the release below `root`."""
    return Timetable.load((root / "timetable.bin").read_bytes())


@cache
def book(root: Path) -> JobFile:
    """The jobs of the release below `root`."""
    return JobFile.load((root / "jobs.bin").read_bytes())
