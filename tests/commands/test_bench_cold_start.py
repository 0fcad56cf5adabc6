"""`lamp bench cold-start`: what it measures, and what it refuses."""

import json

import pytest

from commands import cli


@pytest.mark.slow
def test_cold_start_of_one_lambda_stands_beside_hello_world(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "cold-start", "--rounds", "1", "--function", "schedules_tick", "--json"]) == 0
    hello, tick = json.loads(capsys.readouterr().out)
    assert (hello["function"], tick["function"]) == ("hello world", "schedules_tick")
    for start in (hello, tick):
        assert start["own_ms"] > 0 and start["sdk_ms"] > 0
        assert start["total_ms"] == pytest.approx(start["own_ms"] + start["sdk_ms"], abs=0.2)


def test_cold_start_of_an_unknown_lambda_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "cold-start", "--function", "schedules_tock"]) == 2
    assert "--function schedules_tock: no Lambda is called so. There are schedules_tick" in capsys.readouterr().err
