"""Python jobs of a revision are read from the syntax tree: the same jobs as by an import, and no code runs."""

import subprocess
from pathlib import Path

import pytest

from chalicelib.crontab import loader
from chalicelib.crontab.job import Job
from commands import roots
from commands.cron import diff, unimported

HOSTILE = """
import pathlib
import lamplighter as lamp
from lamplighter import job as due
pathlib.Path({mark!r}).write_text("ran")
ZONE = "Europe/Stockholm"

@due("0 3 * * *", tz=ZONE, retries=2)
def nightly(again: "pathlib.Path(1)" = pathlib.Path({mark!r}).write_text("ran")) -> None:
    pathlib.Path({mark!r}).write_text("ran")

@lamp.job("@hourly", name="often")
def hourly():
    pass
"""


def jobs(folder: Path, *, imported: bool) -> list[Job]:
    found = loader.load(folder, None, None if imported else unimported.read)
    assert [finding for finding in found.findings if finding.severity == "error"] == []
    return found.jobs


def test_jobs_are_those_of_an_import_and_nothing_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "cron").mkdir()
    (tmp_path / "cron/reports.py").write_text(HOSTILE.format(mark=str(mark)))
    read = jobs(tmp_path / "cron", imported=False)
    assert not mark.exists() and len(read) == 2
    assert read == jobs(tmp_path / "cron", imported=True)
    assert mark.exists()


def test_the_jobs_of_the_example_are_the_same_both_ways() -> None:
    folder = roots.PRODUCT / "cron"
    assert jobs(folder, imported=False) == jobs(folder, imported=True)


@pytest.mark.parametrize(("source", "line", "said"), [
    ("from lamplighter import job\nT = open('x')\n@job(T)\ndef f(): pass\n", 3, "'T' is no literal"),
    ("from lamplighter import job\n@job(open('x').read())\ndef f(): pass\n", 2, "is no literal"),
    ("from lamplighter import job\n@job('* * * * *', **open('x'))\ndef f(): pass\n", 2, "out of a dictionary"),
    ("from lamplighter import job\nfor _ in '12':\n    @job('* * * * *')\n    def f(): pass\n", 3, "otherwise than"),
    ("from lamplighter import job\njob('* * * * *')(print)\n", 2, "otherwise than right"),
    ("from lamplighter import job\nalso = job\n", 2, "otherwise than right"),
    ("from lamplighter import *\n", 1, "hides the names"),
    ("from lamplighter import job\n@job('* * * * *', colour='red')\ndef f(): pass\n", 2, "TypeError"),
    ("from lamplighter import job\n@job(5)\ndef f(): pass\n", 2, "needs a schedule"),
    ("def f(:\n", 1, "SyntaxError"), ("x = " + "(" * 5000, 1, "without being run"), ("a\0b", 1, "without being run"),
    ("from lamplighter import job\n@job('* * * * *')\nasync def f(): pass\n", 2, "not a plain function"),
    ("from lamplighter import job\n@job('* * * * *')\ndef f(a): pass\n", 2, "needs arguments")])
def test_what_only_running_code_knows_is_a_finding_at_its_line(
    tmp_path: Path, source: str, line: int, said: str
) -> None:
    (tmp_path / "x.py").write_text(source)
    [finding] = [one for one in loader.load(tmp_path, None, unimported.read).findings if one.severity == "error"]
    assert finding.line == line and said in finding.message, finding


def test_a_revision_is_compared_without_running_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "cron").mkdir()
    (tmp_path / "cron/reports.py").write_text(HOSTILE.format(mark=str(mark)))
    (tmp_path / "fleet.toml").write_text(
        'name = "f"\n[[regions]]\nname = "eu-west-1"\n[coordination]\nregions = ["eu-west-1"]\n')
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(roots.VARIABLE, str(tmp_path))
    assert len(diff.jobs_of("HEAD")) == 2
    assert not mark.exists()
