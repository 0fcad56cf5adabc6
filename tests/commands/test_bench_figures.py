"""The figures of all benchmarks: their limits, and how they are printed."""

import json

import pytest
import typer

from commands.bench.figures import Figure, report

KEPT, BROKEN = Figure("probes a second", 25_000.0, "1/s", "at least", 2_500), Figure("errors", 1, "", "at most", 0)


@pytest.mark.parametrize(("value", "bound", "limit", "within"), [
    (1.0, "at most", 1.0, True), (1.1, "at most", 1.0, False), (1.0, "at least", 1.0, True),
    (0.9, "at least", 1.0, False), (99.0, "", 0.0, True),
])
def test_a_limit_is_kept_or_not(value: float, bound: str, limit: float, within: bool) -> None:
    assert Figure("name", value, "s", bound, limit).within is within  # type: ignore[arg-type]


def test_figures_are_printed_with_units_and_limits(capsys: pytest.CaptureFixture[str]) -> None:
    report(iter([KEPT, Figure("load", 0.0523, "ms")]), as_json=False)
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown[1:] == ["probes a second 25,000 1/s at least 2,500", "load 0.0523 ms"]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_broken_limit_ends_in_failure_after_all_figures_are_printed(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        report(iter([BROKEN, KEPT]), as_json=as_json)
    out = capsys.readouterr().out
    assert ended.value.exit_code == 1 and "probes a second" in out
    if as_json:
        assert [row["within"] for row in json.loads(out)] == [False, True]
