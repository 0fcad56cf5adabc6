"""`lamp cron diff` as it is called: folders, revisions, and what it says of mistakes."""

import json
import subprocess
from pathlib import Path

import pytest

from commands import cli
from commands.cron import diff
from commands.errors import UsageError
from commands.roots import PRODUCT as ROOT

SPRING = ["--from", "2026-03-28", "--days", "3"]


def folder(root: Path, *lines: str, name: str = "cron") -> Path:
    (root / name / "cron.d").mkdir(parents=True)
    text = "\n".join(["CRON_TZ=Europe/Stockholm", *lines, ""])
    (root / name / "cron.d" / "backup").write_text(text)
    return root / name


@pytest.fixture
def sides(tmp_path: Path) -> list[str]:
    before = folder(tmp_path, "30 2 * * * root save", "0 5 * * * root rest", name="before")
    after = folder(tmp_path, "*/30 2 * * * root save", "0 5 * * * root rest", "0 1 28 * * root new", name="after")
    return [str(before), str(after)]


def test_json_names_every_job_that_changed(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cron", "diff", *sides, *SPRING, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["from"], said["to"], said["jobs_before"], said["jobs_after"]) == ("2026-03-28", "2026-03-31", 2, 3)
    assert (said["gained"], said["lost"]) == (3, 1)
    jobs = {entry["job"].split("/")[1].split("-")[0]: entry for entry in said["jobs"]}
    assert jobs.keys() == {"save", "new"}
    assert jobs["save"]["before"] == "30 2 * * * Europe/Stockholm"
    # The hour that is skipped: a wildcard job does not make up for it.
    assert jobs["save"]["first_lost_utc"] == ["2026-03-29T01:00:00Z"]
    assert jobs["save"]["first_gained_utc"] == ["2026-03-28T01:00:00Z", "2026-03-30T00:00:00Z"]
    assert (jobs["new"]["before"], jobs["new"]["first_gained_utc"]) == (None, ["2026-03-28T00:00:00Z"])


def test_the_list_has_every_fire(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cron", "diff", *sides, *SPRING, "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if "save" in line] == [
        ["+", "2026-03-28T01:00:00Z"], ["-", "2026-03-29T01:00:00Z"], ["+", "2026-03-30T00:00:00Z"]]
    assert cli.main(["cron", "diff", *sides, *SPRING, "--list", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert sum(len(job["gained_utc"] + job["lost_utc"]) for job in said["jobs"]) == len(lines)


def test_a_job_with_another_command_is_the_same_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = [str(folder(tmp_path, f"30 2 * * * root save {words}", name=name))
             for name, words in (("before", ""), ("after", "--all"))]
    assert cli.main(["cron", "diff", *sides, *SPRING, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"] == []


def test_the_table_sums_it_up(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cron", "diff", *sides, *SPRING]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "2 jobs before, 3 after; 2 fire at other times within 2026-03-28 to 2026-03-31" in told


def test_a_folder_is_the_same_as_itself(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cron", "diff", sides[0], sides[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"] == []


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True,
                   capture_output=True)


def test_a_revision_is_read_from_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    cron = folder(tmp_path, "0 4 * * * root one")
    (tmp_path / "fleet.toml").write_text((ROOT / "fleet.toml").read_text())
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    (cron / "cron.d" / "backup").write_text("0 5 * * * root two\n")
    monkeypatch.setenv("LAMP_FLEET", str(tmp_path))
    assert [job.command for job in diff.jobs_of("HEAD")] == ["one"]
    assert [job.command for job in diff.jobs_of(str(cron))] == ["two"]


@pytest.mark.parametrize(("arguments", "told"), [
    (["no-such-thing", "cron"], "'no-such-thing' is neither a folder nor a revision of this repository"),
    (["cron", "cron", "--from", "29.3.2026"], "--from '29.3.2026' is not a day. Write it as in 2026-03-29"),
    (["cron", "cron", "--from", "0001-01-01"], "the year must be from 1970 to 2900"),
    (["--", "--upload-pack=x", "cron"], "'--upload-pack=x' is neither a folder nor a revision"),
])
def test_mistakes_are_told_in_one_piece(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert cli.main(["cron", "diff", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_bad_line_is_named_with_its_place(tmp_path: Path) -> None:
    bad = folder(tmp_path, "61 * * * * root bad")
    with pytest.raises(UsageError, match=r"cron: cron\.d/backup:2:1: error: bad minute"):
        diff.jobs_of(str(bad))


def test_where_a_command_runs_is_no_concern_of_its_fires(tmp_path: Path) -> None:
    declared = (ROOT / "fleet.toml").read_text()
    assert "[schedules.ssm]" not in declared
    cron = folder(tmp_path, "# lamp: on=ssm", "0 4 * * * root one")
    assert [job.command for job in diff.jobs_of(str(cron))] == ["one"]


def test_jobs_take_the_zone_of_the_fleet_file_beside_their_folder(tmp_path: Path) -> None:
    (tmp_path / "cron" / "cron.d").mkdir(parents=True)
    (tmp_path / "cron" / "cron.d" / "backup").write_text("0 4 * * * root one\n")
    declared = (ROOT / "fleet.toml").read_text()
    (tmp_path / "fleet.toml").write_text(declared.replace('timezone = "Europe/Stockholm"', 'timezone = "Asia/Tokyo"'))
    assert [job.tz for job in diff.jobs_of(str(tmp_path / "cron"))] == ["Asia/Tokyo"]
