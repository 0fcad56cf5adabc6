"""`lamp deploy`: what it refuses before it has done anything."""

import pytest

from commands.cli import main
from commands.deploy import packaging


@pytest.mark.parametrize(("stage", "said"), [("X!", "--stage 'X!' is no stage, which is up to "
                                                    "16"), ("prod", "Add --yes")])
def test_the_stage_is_looked_at_before_anybody_is_asked(
    stage: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(stage: str) -> packaging.Package:
        raise AssertionError("nothing is packaged")

    monkeypatch.setattr(packaging, "build", build)
    assert main(["deploy", "--stage", stage, "--json"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
