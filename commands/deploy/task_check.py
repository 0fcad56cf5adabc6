"""Checks tasks/ against fleet.toml and the template's time-outs, before anything is deployed.

The modules of tasks/ are the user's code, so a process of their own imports them.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.config.declared import Fleet
from chalicelib.config.fleet import load
from chalicelib.crontab.diagnostics import Diagnostic, errors, render
from chalicelib.infrastructure.parts import logical
from commands import roots
from commands.errors import DeclaredMistake, UsageError


class Asked(msgspec.Struct, frozen=True):
    """The process's input, with the project, the stage, the Lambda's time-out and each queue's visibility time-out."""

    root: str
    stage: str
    function: int
    visibility: dict[str, int]


def warnings(root: Path, stage: str, declared: Fleet, template: Mapping[str, Any]) -> list[str]:
    """The warnings about tasks/ in `root` for a stage. `DeclaredMistake` lists what refuses the package `template`."""
    parts = template["Resources"]
    hidden = {queue.name: int(parts[f"Queue{logical(queue.name)}"]["Properties"]["VisibilityTimeout"])
              for queue in declared.queues}
    found = _ask(Asked(str(root), stage, int(parts["TasksWork"]["Properties"]["Timeout"]), hidden))
    if wrong := errors(found):
        raise DeclaredMistake("\n".join(render(wrong)))
    return list(render(found))


def _ask(asked: Asked) -> list[Diagnostic]:
    words = [sys.executable, "-P", "-m", "commands.deploy.task_check"]
    environment = {**os.environ, "PYTHONPATH": str(roots.PRODUCT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, env=environment, input=msgspec.json.encode(asked), capture_output=True, cwd=asked.root)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()
        raise UsageError(f"tasks/: cannot be imported: {last[-1] if last else f'it ended with {done.returncode}'}")
    return msgspec.json.decode(done.stdout, type=list[Diagnostic])


def answer(asked: Asked) -> list[Diagnostic]:
    """The findings, by importing tasks/ here and now."""
    from chalicelib.tasks.lint import check
    from chalicelib.tasks.registry import load as load_tasks

    root = Path(asked.root)
    registry = load_tasks(root / "tasks")
    return check(load(root / "fleet.toml", asked.stage), registry, asked.function, asked.visibility)


if __name__ == "__main__":
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    # What a task's module prints while it is imported is not the answer.
    with contextlib.redirect_stdout(sys.stderr):
        found = answer(question)
    sys.stdout.buffer.write(msgspec.json.encode(found))
