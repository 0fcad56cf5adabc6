"""`lamp init`: a whole new fleet that passes its own checks, or nothing at all."""

import os
import re
import shlex
from pathlib import Path

import pytest
import yaml

from chalicelib.config import fleet
from chalicelib.crontab import diagnostics, loader
from commands.develop import init, source
from commands.errors import UsageError
from commands.roots import PRODUCT as ROOT


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts}


def test_init_of_a_new_folder_writes_a_fleet_that_is_read_without_a_mistake(tmp_path: Path) -> None:
    new = tmp_path / "acme-lamps"
    init.write(new, init.contents("acme-lamps"))
    declared = fleet.load(new / "fleet.toml")
    jobs, found = loader.load(new / "cron", declared)
    assert declared.name == "acme-lamps" and jobs and not diagnostics.errors(found)
    assert set(tree(new)) == {
        "fleet.toml", "fleet.schema.json", "README.md", ".gitignore", "requirements.txt", "requirements-dev.txt",
        ".github/workflows/lamplighter.yml", "cron/reports.py", "cron/crontabs/deploy", "runner-policy.json",
        "tasks/invoices.py"}


def test_init_points_the_editor_at_the_schema_beside_the_fleet() -> None:
    files = init.contents("acme")
    assert files["fleet.toml"].splitlines()[0] == "#:schema ./fleet.schema.json"
    assert files["fleet.toml"].count("#:schema") == 1
    assert files["fleet.schema.json"] == (ROOT / "docs" / "fleet.schema.json").read_text()


def test_init_fills_every_placeholder() -> None:
    left = {path: found for path, text in init.contents("acme").items() if path in init.WRITTEN.values()
            and (found := re.findall(r"(?<!\$)\{\w+\}", text))}
    assert left == {}


def test_the_requirement_names_a_place_and_not_a_name_that_anybody_may_register() -> None:
    written = init.contents("acme")["requirements-dev.txt"]
    [line] = [line for line in written.splitlines() if "git+" in line and "#" not in line]
    assert line == source.of_checkout(ROOT).requirement, line
    assert "lamplighter==" not in written
    # The README and both jobs of the workflow install that file.
    for path, times in (("README.md", 1), (".github/workflows/lamplighter.yml", 2)):
        assert init.contents("acme")[path].count("pip install -r requirements-dev.txt") == times


def test_workflow_is_yaml_that_calls_commands_which_exist() -> None:
    text = init.contents("acme")[".github/workflows/lamplighter.yml"]
    jobs = yaml.safe_load(text)["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = [" ".join(shlex.split(run)[1:3]) for run in runs if run.startswith("lamp ")]
    assert called == ["check", "cron diff", "deploy --stage"]
    assert jobs["deploy"]["permissions"]["id-token"] == "write"
    assert jobs["deploy"]["steps"][-2]["with"]["aws-region"] == "eu-west-1"


def test_init_beside_a_file_of_the_same_name_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "invoices.py").write_text("mine = 1\n")
    (tmp_path / "fleet.toml").write_text("")
    before = tree(tmp_path)
    with pytest.raises(UsageError) as caught:
        init.write(tmp_path, init.contents("acme"))
    assert [line.partition(" is there already")[0] for line in str(caught.value).splitlines()] == [
        str(tmp_path / "fleet.toml"), str(tmp_path / "tasks" / "invoices.py")]
    assert tree(tmp_path) == before


def test_init_into_a_repository_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    init.write(tmp_path, init.contents("acme"))
    assert tree(tmp_path)[".git/HEAD"] == b"ref: refs/heads/main\n" and (tmp_path / "fleet.toml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 11))
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device", "x"), KeyboardInterrupt()])
def test_init_that_fails_at_any_file_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, failure: BaseException
) -> None:
    links, link = [0], os.link

    def failing(source: Path, target: Path) -> None:
        links[0] += 1
        if links[0] == number:
            raise failure
        link(source, target)

    monkeypatch.setattr(os, "link", failing)
    with pytest.raises(UsageError if isinstance(failure, OSError) else KeyboardInterrupt):
        init.write(tmp_path / "deep" / "new", init.contents("acme"))
    assert list(tmp_path.iterdir()) == []


def test_init_goes_on_where_a_killed_one_stopped(tmp_path: Path) -> None:
    files = init.contents("acme")
    (tmp_path / "cron").mkdir()
    (tmp_path / "cron" / "reports.py").write_text(files["cron/reports.py"])
    init.write(tmp_path, files)
    assert {path: text.decode() for path, text in tree(tmp_path).items()} == files


def test_init_does_not_follow_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "README.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"README\.md is there already"):
        init.write(tmp_path, init.contents("acme"))
    assert not (tmp_path / "elsewhere").exists()


def test_init_through_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file"):
        init.write(tmp_path / "file", init.contents("acme"))


@pytest.mark.parametrize("name", ["", "9lives", "a" * 21, "acme\n", 'a"b', "Ä"])
def test_name_that_aws_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"--name .* is wrong. A fleet's name has up to 20 small letters, digits and "
                                         r"hyphens"):
        init.contents(name)


@pytest.mark.parametrize(("folder", "name"), [("Acme Lamps", "acme-lamps"), ("lamps.io", "lamps-io"), ("-x-", "x")])
def test_name_is_made_of_the_folder(tmp_path: Path, folder: str, name: str) -> None:
    assert init._name(tmp_path / folder) == name
