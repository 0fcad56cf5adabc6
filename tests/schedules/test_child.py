"""The program of the runner Lambda, as a process of its own: how commands end, and that nothing outlives them."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.runner.log import LOG_BYTES, CappedLog
from chalicelib.schedules.child.process import _Output
from chalicelib.schedules.command import OUTPUT_BYTES, Result
from testing.eventually import eventually
from tests import runner_lambda

ROOT = Path(__file__).parents[2]
LAMBDA = runner_lambda.program("schedules")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")


def command(words: str, **more: Any) -> dict[str, Any]:
    """An event of the runner."""
    return {"kind": "shell", "words": words, "stdin": "", "environment": {"LAMP_TOKEN": "3"}, "seconds": 30} | more


def invoke(*commands: dict[str, Any], **environment: str) -> subprocess.CompletedProcess[str]:
    """One runner, with these commands one after the other."""
    lines = "".join(f"{msgspec.json.encode(one).decode()}\n" for one in commands)
    return subprocess.run([sys.executable, "-P", "-c", LAMBDA], input=lines, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **environment})


def run(words: str, **more: Any) -> Result:
    """The result of one command."""
    done = invoke(command(words, **more))
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=Result)


@pytest.mark.slow
def test_standard_input_shell_and_fencing_token() -> None:
    found = run("cat; echo $0 $LAMP_TOKEN", stdin="a\nb\n", environment={"SHELL": "/bin/bash", "LAMP_TOKEN": "3"})
    assert (found.state, found.output) == ("done", "a\nb\n/bin/bash 3\n")


@pytest.mark.slow
@pytest.mark.parametrize(("words", "state", "detail"), [
    ("exit 7", "failed", "exit status 7"),
    ("no-such", "failed", "exit status 127, which mostly means that on=lambda has no such program"),
    ("/etc/passwd", "failed", "exit status 126, which mostly means that on=lambda may not run that program"),
    ("kill -9 $$", "failed",
     "ended by signal 9, which mostly means that the memory is used up (memory_mb of [runners])"),
    ("kill -15 $$", "failed", "ended by signal 15"), ("true", "done", "")])
def test_how_it_ends(words: str, state: str, detail: str) -> None:
    found = run(words)
    assert (found.state, found.detail) == (state, detail)


@pytest.mark.slow
def test_a_missing_shell_is_named() -> None:
    assert "/no/shell" in run("true", environment={"SHELL": "/no/shell"}).detail


@pytest.mark.slow
def test_long_output_is_cut_and_the_rest_goes_to_the_log() -> None:
    done = invoke(command("head -c 40000 /dev/zero | tr '\\0' x"))
    found = msgspec.json.decode(done.stdout, type=Result)
    assert found.output == "x" * OUTPUT_BYTES + f"\n[{40000 - OUTPUT_BYTES} more bytes are in the log]"
    assert done.stderr == "x" * (40000 - OUTPUT_BYTES)


@pytest.mark.slow
def test_a_large_standard_input_that_is_not_read_does_no_harm() -> None:
    assert run("true", stdin="x" * 1_000_000).state == "done"


@pytest.mark.slow
def test_a_python_job_runs_its_function_with_the_environment_but_not_the_line_to_aws() -> None:
    code = command("cron.reports:lamps", kind="python", environment={"LAMP_SLOT": "noon"})
    found = msgspec.json.decode(invoke(code).stdout, type=Result)
    assert found.output == "noon: mean brightness 0.85\n"
    seen = invoke(command("tests.schedules.test_child:show", kind="python"), AWS_LAMBDA_RUNTIME_API="127.0.0.1:9001",
                  AWS_ACCESS_KEY_ID="declared", _HANDLER="app.x").stdout
    assert "AWS_ACCESS_KEY_ID=declared" in seen
    assert "RUNTIME_API" not in seen and "_HANDLER" not in seen


def show() -> None:
    """A Python job that prints its environment."""
    for name, value in os.environ.items():
        print(f"{name}={value}")


SECRETS = {"AWS_ACCESS_KEY_ID": "AKIDHUSH", "AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_SESSION_TOKEN": "hush-token"}


@pytest.mark.slow
def test_a_command_has_no_credentials_in_its_environment() -> None:
    assert "hush" not in invoke(command("env"), **SECRETS).stdout.lower()


@pytest.mark.slow
@linux
def test_a_command_reads_no_credentials_of_the_runner() -> None:
    # As in Lambda: without the capabilities of root, which would open anything.
    spy = ("for f in environ mem maps fd/0 fd/1 cwd; do "
           "if [ $f = cwd ]; then readlink /proc/$PPID/$f; else head -c 9 /proc/$PPID/$f; fi >/dev/null 2>&1 "
           "&& echo $f is open; done; cat /proc/*/environ | tr '\\0' '\\n' | grep -i hush; echo over")
    done = subprocess.run([sys.executable, "-P", "-c", POWERLESS + LAMBDA], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **SECRETS},
                          input=f"{msgspec.json.encode(command(spy)).decode()}\n")
    found = msgspec.json.decode(done.stdout, type=Result)
    lines = [line for line in found.output.splitlines() if not line.startswith("cat: ")]
    assert (found.state, lines) == ("done", ["over"])


POWERLESS = "from sandbox.powers import give_up\ngive_up()\n"
# Each leaves a process behind in another way, whose id goes to the file `$OUT`.
ESCAPES = {
    "background": "sleep 600 & echo $! > $OUT",
    "nohup": "nohup sleep 600 >/dev/null 2>&1 & echo $! > $OUT",
    "setsid": "setsid sh -c 'echo $$ > $OUT; exec sleep 600' & while [ ! -s $OUT ]; do sleep 0.02; done",
    "double fork": "(setsid sh -c 'sh -c \"echo \\$\\$ > $OUT; exec sleep 600\" & ' & ) ; "
                   "while [ ! -s $OUT ]; do sleep 0.02; done",
    "deaf": "setsid sh -c 'trap \"\" TERM HUP INT; echo $$ > $OUT; while :; do sleep 1; done' & "
            "while [ ! -s $OUT ]; do sleep 0.02; done",
    "breeding": "setsid sh -c 'echo $$ > $OUT; trap \"\" TERM; while :; do (sleep 5 &) ; done' & "
                "while [ ! -s $OUT ]; do sleep 0.02; done",
}


@pytest.mark.slow
@linux
@pytest.mark.parametrize("way", ESCAPES)
@pytest.mark.parametrize("end", ["exit 0", "sleep 600"])
def test_nothing_that_a_command_starts_outlives_it(tmp_path: Path, way: str, end: str) -> None:
    out, mark = tmp_path / "pid", f"OUT={tmp_path}/pid"
    found = run(f"{ESCAPES[way]}; {end}", environment={"OUT": str(out), "PATH": os.environ["PATH"]}, seconds=2)
    assert found.state == ("timed-out" if end == "sleep 600" else "done")
    assert out.read_text().strip()
    assert eventually(lambda: not [process for process in Path("/proc").iterdir() if holds(process, mark)])


def holds(process: Path, mark: str) -> bool:
    """Whether a process has this in its environment."""
    try:
        return mark.encode() in (process / "environ").read_bytes()
    except OSError:
        return False


@pytest.mark.slow
@linux
def test_a_runner_serves_the_next_command_as_if_nothing_had_been() -> None:
    done = invoke(command("sleep 600 & exit 3"), command("ps -e >/dev/null; echo fine"), command("exit 0"))
    found = [msgspec.json.decode(line, type=Result) for line in done.stdout.splitlines()]
    assert [(one.state, one.exit) for one in found] == [("failed", 3), ("done", 0), ("done", 0)]


@pytest.mark.slow
@linux
def test_a_command_that_kills_its_runner_leaves_no_answer() -> None:
    began = time.monotonic()
    done = invoke(command("kill -9 $PPID; sleep 1"))
    assert (done.returncode, done.stdout) == (-9, "")
    assert time.monotonic() - began < 20


@pytest.mark.slow
@linux
def test_a_process_that_cannot_be_ended_takes_the_runner_with_it(tmp_path: Path) -> None:
    # Nothing here withstands SIGKILL, so that the runner is made to see one that does.
    program = LAMBDA.replace("answer,", "from chalicelib.runner import descendants\n"
                             "descendants._living = lambda root: {2**22 + 1}\nanswer,", 1)
    done = subprocess.run([sys.executable, "-P", "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)},
                          input=f"{msgspec.json.encode(command('true')).decode()}\n", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "1 processes of the command did not end in 5 s: this environment ends with them\n"


def test_log_of_a_run_has_its_first_bytes_and_says_how_many_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    log = CappedLog(10)
    for chunk in (b"12345", b"6789012", b"3"):
        log.write(chunk)
    assert log.left_out == 3
    log.end()
    log.end()
    assert capsys.readouterr().out == "1234567890\n[3 more bytes of output are left out]\n"


def test_output_beyond_the_limit_of_the_log_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    output = _Output()
    output.take(b"x" * (OUTPUT_BYTES + LOG_BYTES + 7))
    assert output.text().endswith(f"\n[{LOG_BYTES} more bytes are in the log, and 7 more are left out]")
    assert len(capsys.readouterr().out) < LOG_BYTES + 100
