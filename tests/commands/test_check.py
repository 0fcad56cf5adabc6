"""`lamp check`: every check runs, whatever the others find; a finding is a line, and decides the exit status."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chalicelib.config.fleet import FleetError, load
from chalicelib.tasks import registry
from commands import cli, roots
from commands.develop import check
from commands.errors import UsageError
from commands.processes import Children

ROOT = Path(__file__).resolve().parent.parent.parent


def good(children: Children) -> check.Findings:
    return True, []


def warned(children: Children) -> check.Findings:
    return True, ["cron/x:3:1: warning: odd"]


def bad(children: Children) -> check.Findings:
    return False, ["fleet.toml:[bold]:1: wrong"]


def mistaken(children: Children) -> check.Findings:
    raise UsageError("one:1\ntwo:2")


def refused(children: Children) -> check.Findings:
    raise FleetError("fleet.toml:1: no")


@pytest.mark.parametrize(("last", "status"), [(good, 0), (warned, 0), (bad, 1), (mistaken, 1), (refused, 1)])
def test_all_checks_run_and_any_failure_decides(
    last: check.Check, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "chosen", lambda: {"first": last, "second": good})
    assert cli.main(["check", "--json"]) == status
    first, second = json.loads(capsys.readouterr().out)
    assert (first["check"], first["ok"], second["check"], second["ok"]) == ("first", not status, "second", True)
    assert cli.main(["check"]) == status
    out = capsys.readouterr().out
    for finding in first["findings"]:
        assert f"first: {finding}\n" in out
    assert "second" in out


def test_a_bug_in_a_check_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(children: Children) -> check.Findings:
        raise ZeroDivisionError

    monkeypatch.setattr(check, "chosen", lambda: {"broken": broken, "good": good})
    with pytest.raises(ZeroDivisionError):
        cli.main(["check", "--json"])


def test_a_program_is_judged_by_its_status_and_told_by_its_output() -> None:
    with Children() as children:
        assert check._program("-c", "print('noise')")(children) == (True, [])
        assert check._program("-c", "print('a:1: x\\n'); raise SystemExit(4)")(children) == (False, ["a:1: x"])


def test_nothing_starts_once_the_children_are_ended() -> None:
    with Children() as children:
        pass
    with pytest.raises(InterruptedError):
        children.run([sys.executable, "-c", ""])


@pytest.mark.slow
def test_the_template_that_is_linted_is_the_packaged_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from commands.deploy import packaging

    package = packaging.build("check")
    wrong = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeOut": 1}}}}
    monkeypatch.setattr(packaging, "build", lambda stage: package)
    with Children() as children:
        assert check._template(children) == (True, [])
        package.template.clear()
        package.template.update(wrong)
        ok, found = check._template(children)
    assert not ok
    assert any("template.json:" in line and "VisibilityTimeOut" in line for line in found)


def test_a_template_that_was_clean_is_not_linted_again_and_any_other_is(
        elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = [1, 0, 0, 0]
    monkeypatch.setattr(check, "_program", lambda *words: lambda children: (not (bad := statuses.pop(0)), ["E1"] * bad))
    with Children() as children:
        def judged(regions: str = "eu-west-1", **parts: Any) -> bool:
            return check._linted({"template.json": parts}, [regions], children)[0]

        assert not judged()
        assert judged() and len(statuses) == 2
        assert judged() and len(statuses) == 2
        assert judged(Resources={}) and len(statuses) == 1
        assert judged("us-east-1") and not statuses


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own, for the checks that read the user's files."""
    (tmp_path / "cron" / "cron.d").mkdir(parents=True)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "fleet.toml").write_text((ROOT / "fleet.toml").read_text())
    monkeypatch.setenv("LAMP_FLEET", str(tmp_path))
    # What is loaded from here is nobody else's business: the registry and the path are the whole process's.
    monkeypatch.setattr(registry.REGISTRY, "tasks", {})
    monkeypatch.setattr(registry.REGISTRY, "broken", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "tasks"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "file", "text", "found"),
    [
        ("fleet.toml", "fleet.toml", "nam = 1\n", "fleet.toml:1: nam: no such key"),
        ("cron/", "cron/cron.d/app", "61 * * * * root true\n", "cron/cron.d/app:1:1: error: bad minute"),
        ("cron/", "cron/cron.d/app", "0 0 30 2 * root true\n", "cron/cron.d/app:1:"),
        ("cron/", "cron/cron.d/app", "1 1 * * * root php a\n2 1 * * * root php b\n",
         "cron/cron.d/app:1:1: warning: a Lambda (Amazon Linux 2023) has no php (and 1 more line alike: 2); write"),
        ("tasks/", "tasks/odd.py", "import no_such_thing\n", "tasks/odd.py:1:1: error: "),
        ("tasks/", "tasks/odd.py", "x = 1\n\ny = 1 +\n", "tasks/odd.py:3:8: error: does not import (SyntaxError: "),
        ("tasks/", "tasks/odd.py", "x = 1\nraise SystemExit(3)\n", "tasks/odd.py:2:1: error: does not import (Sys"),
        ("tasks/", "tasks/odd.py", "x = '\0'\n", "tasks/odd.py:1:1: error: does not import (SyntaxError: "),
        ("cron/", "cron/odd.py", "x = 1\n\ny = 1 +\n", "cron/odd.py:3:8: error: cannot be imported: SyntaxError: "),
        ("cron/", "cron/odd.py", "x = 1\nraise SystemExit(3)\n", "cron/odd.py:2:1: error: cannot be imported: SystemE"),
        ("cron/", "cron/cron.d/app", '# lamp: on=queue\n1 1 * * * root {"task": "mail.send"}\n',
         "cron/cron.d/app:2:1: error: tasks/ declares no task 'mail.send'; declare it with @task"),
        ("cron/", "cron/cron.yaml", 'version: 1\ncron:\n # lamp: on=queue\n - name: "a"\n   url: "/mail/send?to=7"\n'
         '   schedule: "1 1 * * *"\n', "cron/cron.yaml:4:1: error: tasks/ declares no task 'mail.send'"),
    ],
)
def test_findings_of_the_user_s_files_name_the_place(
    name: str, file: str, text: str, found: str, elsewhere: Path
) -> None:
    (elsewhere / file).write_text(text)
    with Children() as children:
        verdict = check._judge(name, check.OF_FLEET[name], children)
    assert any(line.split(str(elsewhere) + "/")[-1].startswith(found) for line in verdict.findings), verdict.findings
    assert verdict.ok == ("error" not in verdict.findings[0] and name == "cron/")


@pytest.mark.parametrize(("args", "found"), [
    ('{"customer": 7}', []), ("{}", ["needs the argument customer"]), ('{"customer": 7, "x": 1}', ["no argument x"]),
])
def test_a_job_that_sends_a_task_is_held_to_its_arguments(args: str, found: list[str], elsewhere: Path) -> None:
    (elsewhere / "tasks" / "bills.py").write_text(
        "from lamplighter import task\n\n@task\ndef render(customer: int) -> None: ...\n")
    (elsewhere / "cron" / "cron.d" / "app").write_text(
        f'# lamp: on=queue\n1 1 * * * root {{"task": "bills.render", "args": {args}}}\n')
    with Children() as children:
        verdict = check._judge("cron/", check.OF_FLEET["cron/"], children)
    assert verdict.ok is not bool(found)
    assert all(words in line for words, line in zip(found, verdict.findings, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("folders", [("cron", "tasks"), ()])
def test_a_fleet_without_the_samples_is_green(folders: tuple[str, ...], elsewhere: Path) -> None:
    """Git keeps no empty folder, so that a checkout has neither."""
    shutil.rmtree(elsewhere / "cron")
    shutil.rmtree(elsewhere / "tasks")
    for folder in folders:
        (elsewhere / folder).mkdir()
    known = ROOT / ".build" / "clean"
    known.mkdir(parents=True, exist_ok=True)
    (elsewhere / ".build").mkdir()
    (elsewhere / ".build" / "clean").symlink_to(known)
    declared = (elsewhere / "fleet.toml").read_text()
    (elsewhere / "fleet.toml").write_text(declared.replace('policy = "runner-policy.json"\n', ""))
    with Children() as children:
        assert [verdict[:2] + verdict[3:] for verdict in (
            check._judge(name, body, children) for name, body in check.OF_FLEET.items())] == [
            (name, True, []) for name in check.OF_FLEET]


@pytest.mark.parametrize(("lines", "ok", "left"), [
    (["cron/a.py:1:1: E501 Line too long", "tasks/b.py:2:1: error: no types"], True, []),
    (["cron/a.py:1:1: E501", "commands/x.py:1:1: E501"], False, ["commands/x.py:1:1: E501"]),
])
def test_our_lint_says_nothing_of_users_files(lines: list[str], ok: bool, left: list[str]) -> None:
    with Children() as children:
        assert check._lint("-c", f"print({chr(10).join(lines)!r}); raise SystemExit(1)")(children) == (ok, left)
        assert check._lint("-c", "raise SystemExit(1)")(children) == (False, [])


PRIVATE = """
[databases]
flavour = "mariadb"
primary = "eu-west-1"
secret = "watch"
tls = "off"
servers = [{region = "eu-west-1", host = "%s"%s}, {region = "us-east-1", host = "db.example.org"}]
"""


@pytest.mark.parametrize(("host", "more", "found"), [
    ("10.0.0.7", ', remote_address = "db.example.com:3306"', ["eu-west-1: 10.0.0.7 is private"]),
    ("db.corp.internal", ', remote_address = "10.0.0.8:3306"',
     ["eu-west-1: db.corp.internal is private", "the Lambdas of us-east-1", "the Lambdas of ap-southeast-1"]),
    ("mysql", ', remote_address = "8.8.8.8:3306"', ["mysql is private, and the Lambdas of eu-west-1 run in no VPC"]),
    ("db.example.com", "", []),
])
def test_a_private_name_without_a_network_is_refused(
    host: str, more: str, found: list[str], elsewhere: Path
) -> None:
    declared = (elsewhere / "fleet.toml").read_text()
    (elsewhere / "fleet.toml").write_text(declared + PRIVATE % (host, more))
    with Children() as children:
        verdict = check._judge("fleet.toml", check.OF_FLEET["fleet.toml"], children)
        assert verdict.ok is not bool(found)
        assert all(words in line for words, line in zip(found, verdict.findings, strict=True)), verdict.findings
        network = 'network = {subnets = ["subnet-0123456789"], security_groups = ["sg-0123456789"]}\n'
        placed = declared.replace('-1"\n', f'-1"\n{network}', 3)
        (elsewhere / "fleet.toml").write_text(placed + PRIVATE % (host, more))
        load.cache_clear()
        verdict = check._judge("fleet.toml", check.OF_FLEET["fleet.toml"], children)
        assert (verdict.ok, verdict.findings) == (True, [])


@pytest.mark.parametrize(
    ("teller", "file", "text", "words"),
    [
        ("fleet.toml", "fleet.toml", "nam = 1\n", "nam: no such key"),
        ("cron/", "cron/cron.d/app", "61 * * * * root true\n", "bad minute"),
    ],
)
def test_a_mistake_is_told_by_one_check(
    teller: str, file: str, text: str, words: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from commands.deploy import packaging

    monkeypatch.setattr(packaging, "build", functools.partial(packaging.build, root=elsewhere))
    (elsewhere / file).write_text(text)
    with Children() as children:
        names = ("template", "fleet.toml", "cron/", "tasks/")
        verdicts = {name: check._judge(name, check.OF_FLEET[name], children) for name in names}
    assert [name for name in names if words in " ".join(verdicts[name].findings)] == [teller]
    assert not verdicts["template"].ok
    assert verdicts["template"].findings == ["not made: fleet.toml, cron/ or tasks/ has errors"]


@pytest.mark.slow
def test_import_rules_bite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (ROOT / "chalicelib").rglob("*.py"):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    for folder in ("commands", "sandbox", "simulation", "testing"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    monkeypatch.setattr(roots, "PRODUCT", tmp_path)
    with Children() as children:
        assert check._imports(children) == (True, [])
        decide = tmp_path / "chalicelib" / "schedules" / "decide" / "__init__.py"
        decide.write_text("import time\nimport chalicelib.aws.client\n")
        (tmp_path / "chalicelib" / "context.py").write_text("import boto3\n")
        (tmp_path / "chalicelib" / "tasks" / "act.py").write_text("import chalicelib.schedules.act, boto3, commands\n")
        ok, found = check._imports(children)
    assert not ok
    for line in ("chalicelib.schedules.decide is not allowed to import time:",
                 "chalicelib.schedules.decide is not allowed to import chalicelib.aws.client:",
                 "chalicelib.tasks is not allowed to import chalicelib.schedules.act:",
                 "chalicelib is not allowed to import boto3:", "chalicelib is not allowed to import commands:"):
        assert line in found, (line, found)


@pytest.mark.slow
def test_check_of_this_repository_as_a_program() -> None:
    """The real thing, without mypy's minute: fleet.toml, cron/ and tasks/ of this repository are good."""
    names = "[name for name in check.OF_FLEET if name.endswith(('/', '.toml'))]"
    code = (f"from commands.develop import check\nchosen = {{name: check.OF_FLEET[name] for name in {names}}}\n"
            "print(all(verdict.ok for verdict in check.gather(chosen)))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
