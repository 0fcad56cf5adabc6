"""`lamp cron lint`: findings with their place, of files and of folders."""

import json
from pathlib import Path

import pytest

from commands import cli
from commands.roots import PRODUCT


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fleet with one crontab that is good."""
    (tmp_path / "cron" / "crontabs").mkdir(parents=True)
    (tmp_path / "fleet.toml").write_text((PRODUCT / "fleet.toml").read_text())
    (tmp_path / "cron" / "crontabs" / "deploy").write_text("5 2 * * * true\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAMP_FLEET", raising=False)
    return tmp_path


def test_lint_of_a_good_fleet_says_so(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cron", "lint"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "0 errors, 0 other findings\n")


@pytest.mark.parametrize(("name", "text", "said"), [
    ("crontabs/deploy", "61 * * * * x\n", "cron/crontabs/deploy:1:1: error: bad minute"),
    ("crontabs/deploy", "0 0 30 2 * x\n", "cron/crontabs/deploy:1:"),
    ("reports.py", "import no_such_thing\n", "cron/reports.py:1:1: error: cannot be imported"),
    ("cron.yaml", "version: 2\n", "cron/cron.yaml:1:"),
])
def test_lint_names_file_line_and_column(
    fleet: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, said: str
) -> None:
    (fleet / "cron" / name).write_text(text)
    status = cli.main(["cron", "lint"])
    out = capsys.readouterr().out
    assert out.startswith(said) and status == int(": error: " in out)
    assert cli.main(["cron", "lint", f"cron/{name}"]) == status, "the file by itself"
    assert capsys.readouterr().out.startswith(said)


def test_lint_of_a_folder_finds_names_that_stand_twice(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (fleet / "cron" / "crontabs" / name).write_text("# lamp: name=one\n5 2 * * * true\n")
    assert cli.main(["cron", "lint", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {one["severity"] for one in found} == {"error"} and "one" in found[0]["message"]


def test_lint_of_what_is_not_there_is_refused(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cron", "lint", "nothing"]) == 2
    assert "nothing (No such file" in capsys.readouterr().err


def test_lint_warns_of_each_line_that_cannot_work_in_a_lambda(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["0 1 * * * mysqldump shop > /tmp/shop.sql", "# lamp: on=ssm", "0 2 * * * mysqldump shop",
             "0 3 * * * echo a", "0 4 * * * cd /srv/shop && php artisan"]
    (fleet / "cron" / "crontabs" / "deploy").write_text("\n".join([*lines, ""]))
    for words in ([], ["cron/crontabs/deploy"]):
        assert cli.main(["cron", "lint", *words, "--json"]) in (0, 1)
        told = {one["line"]: one for one in json.loads(capsys.readouterr().out) if one["code"] == "no-program"}
        assert set(told) == {1, 5} and {one["severity"] for one in told.values()} == {"warning"}
        assert told[5]["message"].endswith("has no folder /srv/shop, no php") and "on=ssm" in told[1]["remedy"]


def test_fix_writes_the_comments_of_a_folder_and_says_where(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = fleet / "cron" / "cron.d" / "shop"
    file.parent.mkdir(exist_ok=True)
    file.write_text("MAILTO=x@y.z\n0 1 * * * root flock -n /tmp/l php x\n0 2 * * * root date\n")
    others = {path: path.read_bytes() for path in (fleet / "cron").rglob("*") if path.is_file() and path != file}
    cli.main(["cron", "lint", "--fix", "--on", "ecs"])
    assert "wrote a comment above what was line 2" in " ".join(capsys.readouterr().err.split())
    fixed = "MAILTO=x@y.z\n# lamp: on=ecs overlap=skip\n0 1 * * * root flock -n /tmp/l php x\n0 2 * * * root date\n"
    assert file.read_text() == fixed
    assert {path: path.read_bytes() for path in others} == others
    cli.main(["cron", "lint", "--fix"])
    assert file.read_text() == fixed and "wrote" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--fix", "--on", "moon"], ["--on", "ssm"]])
def test_fix_with_another_target_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cron", "lint", *words]) == 2
    assert "write --fix --on ssm" in " ".join(capsys.readouterr().err.split())
