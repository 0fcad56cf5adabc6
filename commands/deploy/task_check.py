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

_COMPILE = "--compile"


class Asked(msgspec.Struct, frozen=True):
    """The process's input, with the project, the stage, the Lambda's time-out and each queue's visibility time-out."""

    root: str
    stage: str
    function: int
    visibility: dict[str, int]


def compiled(root: Path) -> bytes:
    """The declarations of tasks/ in `root`, as the package holds them. Modules that cannot be imported have none."""
    return _python(str(root), [_COMPILE], str(root).encode())


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
    return msgspec.json.decode(_python(asked.root, [], msgspec.json.encode(asked)), type=list[Diagnostic])


def _python(root: str, arguments: list[str], question: bytes) -> bytes:
    words = [sys.executable, "-P", "-m", "commands.deploy.task_check", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(roots.PRODUCT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, env=environment, input=question, capture_output=True, cwd=root)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()
        raise UsageError(f"tasks/: cannot be imported: {last[-1] if last else f'it ended with {done.returncode}'}")
    return done.stdout


def answer(asked: Asked) -> list[Diagnostic]:
    """The findings, by importing tasks/ here and now."""
    from chalicelib.tasks.lint import check
    from chalicelib.tasks.registry import load as load_tasks

    root = Path(asked.root)
    registry = load_tasks(root / "tasks")
    return check(load(root / "fleet.toml", asked.stage), registry, asked.function, asked.visibility)


def _compile(root: Path) -> bytes:
    from chalicelib.tasks import manifest
    from chalicelib.tasks.registry import load as load_tasks

    return manifest.build(load_tasks(root / "tasks"))


if __name__ == "__main__":
    question = sys.stdin.buffer.read()
    # What a task's module prints while it is imported is not the answer.
    with contextlib.redirect_stdout(sys.stderr):
        if sys.argv[1:] == [_COMPILE]:
            found = _compile(Path(question.decode()))
        else:
            found = msgspec.json.encode(answer(msgspec.json.decode(question, type=Asked)))
    sys.stdout.buffer.write(found)
