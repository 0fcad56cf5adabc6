"""The walk of one tunnel repair from its trigger to its effect is short: ten files at most, printed by this test."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from chalicelib.tunnels.decide import context
from chalicelib.tunnels.state import RepairAction
from testing.aws import FakeSsm
from tests.tunnels.harness import A, Yard

ROOT = Path(__file__).resolve().parent.parent.parent


def on_the_way(frame: FrameType | None) -> list[str]:
    """The product's files on the way to where we are, from the trigger on."""
    files: list[str] = []
    while frame:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT / "chalicelib"):
            files.insert(0, str(path.relative_to(ROOT)))
        frame = frame.f_back
    return list(dict.fromkeys(files))


def test_a_repair_goes_through_ten_files_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    yard = Yard()
    walks: dict[str, list[str]] = {}

    def decided(*words: Any) -> RepairAction:
        walks.setdefault("decided", on_the_way(sys._getframe()))
        return RepairAction(*words)

    def sent(*words: Any, **more: Any) -> str:
        walks.setdefault("done", on_the_way(sys._getframe()))
        return send_command(*words, **more)

    send_command = FakeSsm.send_command
    monkeypatch.setattr(FakeSsm, "send_command", sent)
    monkeypatch.setattr(context, "RepairAction", decided)
    yard.minute()
    yard.sides[A] = ("local", "refused")
    yard.minute()
    # The trigger itself is in app.py, and the adapter that calls AWS in chalicelib/aws/.
    files = dict.fromkeys(["app.py", *walks["decided"], *walks["done"], "chalicelib/aws/ssm.py"])
    print(f"a tunnel repair goes through {len(files)} files: {', '.join(files)}")
    assert len(files) <= 10 and "chalicelib/tunnels/decide/repair.py" in files
