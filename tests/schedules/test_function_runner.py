"""`on=lambda`: what the runner Lambda is sent, and what its answers and its ends mean."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.aws.functions import Invocation
from chalicelib.config.declared import RESERVE_SECONDS, RUNNER_JOB_SECONDS
from chalicelib.crontab.job import Job
from chalicelib.schedules.command import Command, Result
from chalicelib.schedules.lambdas import LAMBDAS
from chalicelib.schedules.runners import function
from tests.schedules.harness import HOME, RUNNER_NAME, SLOT, Place, attempt, job


def ended(tmp_path: Path, answer: Invocation, one: Job | None = None) -> Result:
    """The result of a run whose runner ends in this way."""
    place = Place(tmp_path, [job()])
    place.aws[HOME].functions[RUNNER_NAME] = lambda payload: answer
    found = function.start(place.sites[HOME], attempt(one or job()))
    assert isinstance(found, Result)
    return found


def test_the_runner_gets_all_that_the_command_needs_and_nothing_else(tmp_path: Path) -> None:
    place, sent = Place(tmp_path, [job()]), list[Command]()

    def run(payload: bytes) -> Invocation:
        sent.append(msgspec.json.decode(payload, type=Command))
        return Invocation(msgspec.json.encode(Result("done", "hello\n", exit=0)))

    place.aws[HOME].functions[RUNNER_NAME] = run
    found = function.start(place.sites[HOME], attempt(job(command="cat", stdin="in", env={"A": "b"}, timeout=60)))
    assert found == Result("done", "hello\n", exit=0)
    function.start(place.sites[HOME], attempt(job(kind="python", command="cron.a:b", env={"A": "b"})))
    ours = {"LAMP_JOB": "jobs/one", "LAMP_SLOT": SLOT, "LAMP_TOKEN": "3", "LAMP_REGION": HOME}
    assert sent == [Command("shell", "cat", "in", {"A": "b", **ours}, 60),
                    Command("python", "cron.a:b", "", ours, 600)]


@pytest.mark.parametrize(("told", "state", "words"), [
    ({"errorType": "Runtime.ExitError", "errorMessage": "Error: Runtime exited with error: signal: killed"}, "failed",
     "ended before its command (Runtime.ExitError: Error: Runtime exited with error: signal: killed). Mostly its 1024 "
     "MB are used up: give it more with memory_mb of [runners]"),
    ({"errorType": "Runtime.OutOfMemory", "errorMessage": "killed"}, "failed", "1024 MB are used up"),
    ({"errorType": "Sandbox.Timedout", "errorMessage": "RequestId: 1 Error: Task timed out after 840.00 seconds"},
     "timed-out", f"Lambda ended {RUNNER_NAME}: RequestId: 1 Error: Task timed out after 840.00 seconds"),
    ({"errorMessage": "2026-11-29T00:00:00Z 1 Task timed out after 840.00 seconds"}, "timed-out", "Task timed out"),
    ({"errorType": "ImportError", "errorMessage": "no module\x1b[31m"}, "failed",
     f"{RUNNER_NAME} broke: ImportError: no module\\x1b[31m"),
    ("not an object", "failed", f"{RUNNER_NAME} broke: Unhandled: no reason"),
])
def test_a_runner_that_ends_without_a_result_is_told_with_the_reason_and_its_log(
    tmp_path: Path, told: Any, state: str, words: str
) -> None:
    found = ended(tmp_path, Invocation(msgspec.json.encode(told), "Unhandled", "the end of the log"))
    assert (found.state, found.output) == (state, "the end of the log")
    assert words in found.detail


@pytest.mark.parametrize("payload", [b"", b"null", b"[", b'{"state": "lost"}', b"[" * 5000])
def test_an_answer_that_is_no_result_is_a_failed_run(tmp_path: Path, payload: bytes) -> None:
    found = ended(tmp_path, Invocation(payload, log="log"))
    assert (found.state, found.output) == ("failed", "log")
    assert f"the answer of {RUNNER_NAME} is not a result" in found.detail


def test_each_waits_longer_than_the_next(tmp_path: Path) -> None:
    waited = list[float]()
    place = Place(tmp_path, [job()])

    class Functions:
        def invoke(self, function: str, payload: bytes, *, wait_seconds: float) -> Invocation:
            waited.append(wait_seconds)
            return Invocation(msgspec.json.encode(Result("done")))

    ports = msgspec.structs.replace(place.aws[HOME].ports, functions=Functions())
    site = msgspec.structs.replace(place.sites[HOME], aws_regions={HOME: ports})
    function.start(site, attempt(job(timeout=RUNNER_JOB_SECONDS)))
    lambdas = {each.name: each for each in LAMBDAS}
    ending = RUNNER_JOB_SECONDS + 10
    assert ending < lambdas["schedules.runner"].timeout_seconds
    # The worker still holds its lease when it learns of the end, and has a minute left to write it down.
    assert ending < waited[0] < RUNNER_JOB_SECONDS + RESERVE_SECONDS
    assert waited[0] + RESERVE_SECONDS < lambdas["schedules.work"].timeout_seconds
