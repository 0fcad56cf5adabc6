"""The front door: the list, the help of every command, exit statuses, and what Ctrl-C leaves behind (nothing)."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
import typer

from chalicelib.config.fleet import FleetError
from chalicelib.version import VERSION
from commands import cli
from commands.errors import UsageError
from testing.eventually import SECONDS, eventually

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


def test_alone_it_lists_every_command_with_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    for name, command in cli.COMMANDS.items():
        assert sum(line.split("   ")[0].strip() == name and line.endswith(command.line) for line in lines) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert out.lstrip().startswith(f"Usage: ./lamp {name}")
    assert len(out.splitlines()) > 6


REPORTING = ["check", "cron next", "cron diff", "cron lint", "status", "run", "explain", "journal", "demo",
             "bench schedules", "bench tasks", "routing compile", "routing answer", "routing verify"]


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTING)
def test_every_command_that_reports_has_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*name.split(), "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_a_family_alone_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench"]) == 0
    out = capsys.readouterr().out
    assert "bench schedules" in out and "deploy" not in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deplyo"], "'deplyo' is not a command; did you mean ./lamp deploy?"),
        (["xyzzy"], "'xyzzy' is not a command; ./lamp alone lists the commands."),
        (["bench", "schedule"], "'bench schedule' is not a command; did you mean ./lamp bench schedules?"),
        (["explain"], "Missing argument 'JOB'"),
        (["check", "--jsn"], "No such option: --jsn"),
        (["explain", "a", "noon"], "'noon' is not a time. Write it as in 2026-03-29T02:30Z"),
        (["run", "schedules.pause", "{job"], "JSON, column 2: "),
        (["run", "schedules.pause", "[]"], "an operation takes a JSON object"),
    ],
)
def test_a_mistake_gets_one_clear_error_and_status_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert said in shown.err and "Traceback" not in shown.err and shown.out == ""


@pytest.mark.parametrize(("old", "new"), cli.RENAMED.items())
def test_old_word_answers_with_the_new_one(old: str, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert new in cli.COMMANDS
    assert cli.main([*old.split(), "x"]) == 2
    assert capsys.readouterr().err == f"error: {old!r} is now called {new!r}: ./lamp {new}\n"


@pytest.mark.parametrize(("short", "name"), cli.SHORT.items())
def test_short_word_is_the_command(short: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([short, "--help"]) == 0
    assert f"Usage: ./lamp {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lamplighter {VERSION}\n"


def test_option_c_changes_folder_and_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMP_FLEET", "elsewhere")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "cron" / "crontabs").mkdir(parents=True)
    (tmp_path / "mine" / "fleet.toml").write_text((ROOT / "fleet.toml").read_text())
    (tmp_path / "mine" / "cron" / "crontabs" / "deploy").write_text("61 * * * * x\n")
    assert cli.main(["-C", "mine", "cron", "lint"]) == 1
    assert capsys.readouterr().out.startswith("cron/crontabs/deploy:1:1: error: ")
    assert (Path.cwd(), os.environ["LAMP_FLEET"]) == (tmp_path / "mine", str(tmp_path / "mine"))


@pytest.mark.parametrize("words", [["-C"], ["-C", "/no/such/folder", "check"]])
def test_option_c_without_a_folder_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert "name the folder of a fleet; ./lamp init DIR makes one" in capsys.readouterr().err


def _put(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def command() -> None:
        raise error

    monkeypatch.setattr(cli, "_function", lambda place: command)


@pytest.mark.parametrize("kind", [UsageError, FleetError])
def test_what_a_command_calls_a_mistake_is_printed_line_by_line(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _put(monkeypatch, kind("cron/[bold]x:3:1: bad minute\n" + "long " * 40))
    assert cli.main(["check"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: cron/[bold]x:3:1: bad minute"
    assert second.rstrip() == "error: " + "long " * 39 + "long"


def test_a_bug_keeps_its_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    _put(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["check"])


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (typer.Exit(3), 3), (SystemExit(4), 4), (SystemExit("x"), 1)]
)
def test_statuses(error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(monkeypatch, error)
    assert cli.main(["check"]) == status


def test_words_that_it_does_not_know_go_through_only_where_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[str] = []

    def command(words: Annotated[list[str] | None, typer.Argument()] = None, fast: bool = False) -> None:
        got.extend(words or [])

    monkeypatch.setattr(cli, "_function", lambda place: command)
    assert cli.main(["test", "-xh", "-k", "one or two", "--fast", "tests/x.py"]) == 0
    assert got == ["-xh", "-k", "one or two", "tests/x.py"]
    assert cli.main(["check", "-k", "one"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("words", "unused"), [
    ([], ["typer", "boto3", "msgspec"]), (["--version"], ["typer", "rich"]), (["cron", "next", "--help"], ["boto3"]),
    *((words.split(), ["sandbox", "simulation", "ministack"]) for words in (
        "status --stage x", "journal --stage x", "run tasks.status --stage x", "explain a 2026-03-29T02:30Z --stage x",
        "deploy --help", "routing answer --help"))])
def test_what_a_command_does_not_need_is_not_imported(words: list[str], unused: list[str]) -> None:
    code = "import json, sys; from commands.cli import main; main(sys.argv[1:]); print(json.dumps(list(sys.modules)))"
    # An endpoint where nobody listens: what would talk to AWS gets that far and no further.
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "a"}
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, env=os.environ | nowhere,
                          capture_output=True, text=True, check=True)
    assert not set(unused) & set(json.loads(done.stdout.splitlines()[-1]))


SLEEPER = """
import pathlib, subprocess, tempfile

def test_sleeps():
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(["sleep", "600"])
        pathlib.Path({marker!r}).write_text(str(child.pid))
        child.wait()
"""

# Becomes the command that its arguments are, with SIGINT ignored.
IGNORING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"


@contextlib.contextmanager
def sleeping(tmp_path: Path, workers: int, ignored: bool) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`lamp test` on a test that never ends, and the process that this test has started.

    `ignored`: started with SIGINT ignored, as `./lamp test &` in a script is.
    """
    marker, folder = tmp_path / "marker", tmp_path / "tmp"
    folder.mkdir()
    (tmp_path / "test_sleeper.py").write_text(SLEEPER.format(marker=str(marker)))
    words = [sys.executable, "-P", "-m", "commands", "test", str(tmp_path / "test_sleeper.py"), "-pno:cacheprovider"]
    words.append(f"-n{workers}")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    begun = [sys.executable, "-c", IGNORING, *words] if ignored else words
    lamp = subprocess.Popen(begun, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: marker.exists() and marker.read_text() != "")
        yield lamp, int(marker.read_text())
    finally:
        lamp.terminate()
        lamp.wait(SECONDS)


def runs(pid: int) -> bool:
    """Whether the process is there and no mere zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc to see which processes are left")
@pytest.mark.parametrize(
    ("number", "status", "workers", "ignored"),
    [(signal.SIGINT, 130, 0, False), pytest.param(signal.SIGINT, 130, 0, True, marks=pytest.mark.slow),
     pytest.param(signal.SIGINT, 130, 2, False, marks=pytest.mark.slow),
     pytest.param(signal.SIGTERM, 143, 2, False, marks=pytest.mark.slow)],
)  # fmt: skip
def test_ctrl_c_leaves_no_process_and_no_folder(
    number: int, status: int, workers: int, ignored: bool, tmp_path: Path
) -> None:
    with sleeping(tmp_path, workers, ignored) as (lamp, grandchild):
        assert runs(grandchild)
        lamp.send_signal(number)
        assert lamp.wait(SECONDS) == status
        eventually(lambda: not runs(grandchild))
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_a_suite_started_with_sigint_ignored_passes_its_ctrl_c_tests() -> None:
    test = f"{__file__}::test_ctrl_c_leaves_no_process_and_no_folder[{signal.SIGINT:d}-130-0-False]"
    words = [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", test]
    done = subprocess.run([sys.executable, "-c", IGNORING, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_fast_leaves_out_the_sandbox_and_full_keeps_a_world_on_one_worker() -> None:
    from commands.develop.test import pytest_words

    assert "not world and not slow" in pytest_words([], fast=True)
    full = pytest_words(["-x"], fast=False)
    assert "-m" not in full[3:] and full[-4:] == ["--dist", "loadfile", "--no-loadscope-reorder", "-x"]


@pytest.mark.slow
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_has_every_word_of_the_docstring_and_of_the_options(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    function = cli._function(cli.COMMANDS[name].place)
    assert cli.main([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    shown = " ".join(re.sub("[\u2500-\u257f]", " ", out).split())
    lines = [line.rstrip() for line in out.splitlines()]
    assert max(map(len, lines)) <= 80
    for paragraph in (function.__doc__ or "").split("\n\n"):
        assert " ".join(paragraph.split()) in shown
        # A line ends where the next word does not fit, not where it ended in the source.
        if len(" ".join(paragraph.split())) < 76:
            assert any(" ".join(paragraph.split()) in line for line in lines)
    for hint in typing.get_type_hints(function, include_extras=True).values():
        for option in getattr(hint, "__metadata__", ()):
            for word in re.findall(r"\[\S+\]", option.help or ""):
                assert word in shown


def test_a_stage_to_check_needs_the_account(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--stage", "prod"]) == 2
    assert "--stage looks at what is deployed. Add --aws" in capsys.readouterr().err
