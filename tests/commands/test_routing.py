"""`./lamp routing`: JSON in the API's shape, answers with their hops, proofs, and a map in both formats."""

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.geography import places
from commands import cli
from commands.routing import map
from commands.routing.commands import KNOWN, example
from tests.routing.fleets import EIGHT, text

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    path = tmp_path / "fleet.toml"
    path.write_text(text(EIGHT[:4]))
    return str(path)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a command prints as JSON."""
    assert cli.main(["routing", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_compile_prints_what_the_api_takes(fleet: str, capsys: pytest.CaptureFixture[str]) -> None:
    from botocore import session, validate

    made = said(capsys, "compile", "--fleet", fleet)
    shapes = session.get_session().get_service_model("route53")
    for record in made["ResourceRecordSets"]:
        report = validate.ParamValidator().validate(record, shapes.shape_for("ResourceRecordSet"))
        assert not report.has_errors(), report.generate_report()
    for config in made["HealthChecks"].values():
        report = validate.ParamValidator().validate(config, shapes.shape_for("HealthCheckConfig"))
        assert not report.has_errors(), report.generate_report()
    used = {record["HealthCheckId"] for record in made["ResourceRecordSets"] if "HealthCheckId" in record}
    assert used == {f"serving-{region}" for region in EIGHT[:4]} and used <= set(made["HealthChecks"])


def test_answer_says_who_and_through_which_hops(fleet: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = said(capsys, "answer", "--from", "SE", "--dead", "eu-west-1", "--fleet", fleet)
    [answer] = report["answers"]
    assert (answer["region"], answer["values"]) == ("us-east-1", ["app.us-east-1.elb.amazonaws.com"])
    assert answer["hops"][0] == ["app.example.com.", "EU"] and len(answer["hops"]) <= 5


@pytest.mark.slow
@pytest.mark.parametrize(("words", "error"), [
    (["answer", "--from", "Sweden"], "'Sweden' is no location of Route 53; did you mean SE?"),
    (["answer", "--from", "SE", "--dead", "mars"], "mars: no region of this fleet. There are eu-west-1"),
    (["map", "--out", "map.pdf"], "map.pdf has the wrong ending. Write to a file that ends in .svg or .png"),
    pytest.param(["map", "--out", "/nowhere/map.svg"], "/nowhere/map.svg: cannot be written", marks=pytest.mark.slow),
    (["verify", "--regions", "9"], "there are 1 to 8 sample regions")])
def test_mistakes(words: list[str], error: str, fleet: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["routing", *words, "--fleet", fleet]) == 2
    assert error in " ".join(capsys.readouterr().err.split())


def test_a_fleet_that_cannot_be_had_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(text(capacity=dict.fromkeys(EIGHT[:3], 0.01)))
    assert cli.main(["routing", "compile", "--fleet", str(path)]) == 2
    assert "declares 0.01" in capsys.readouterr().err


@pytest.mark.slow
def test_prove_proves_the_fleet_and_the_samples(fleet: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = said(capsys, "verify", "--fleet", fleet, "--regions", "3")
    assert [(row["records"], row["wrong_answers"], row["places"]) for row in rows] == [
        (170, 0, 305), (88, 0, 305), (91, 0, 305)]


def test_without_the_table_an_example_is_shown_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["routing", "answer", "--from", "default", "--fleet", str(ROOT / "fleet.toml")]) == 0
    shown = capsys.readouterr()
    assert "has no table [routing]" in shown.err and "app.eu-west-1.elb.amazonaws.com" in shown.out


@pytest.mark.slow
@pytest.mark.parametrize(("name", "begins"), [("world.svg", b"<?xml"), ("world.png", b"\x89PNG")])
def test_the_map_is_drawn_the_same_each_time(name: str, begins: bytes, tmp_path: Path, fleet: str) -> None:
    drawn = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        assert cli.main(["routing", "map", "--fleet", fleet, "--out", str(tmp_path / folder / name)]) == 0
        drawn.append((tmp_path / folder / name).read_bytes())
    assert drawn[0].startswith(begins) and drawn[0] == drawn[1] and len(drawn[0]) > 50_000


def test_each_place_is_in_the_colour_of_its_region(fleet: str) -> None:
    from chalicelib.routing.records import build

    made = build.wanted(example(KNOWN[:4]))
    today, after = map.serves(made, []), map.serves(made, ["eu-west-1"])
    assert today["SE"] == "eu-west-1" and after["SE"] == "us-east-1" and after["SG"] == today["SG"]
    assert set(after.values()) == set(KNOWN[1:4])


def test_every_outline_is_a_place_on_the_map() -> None:
    found = map.outlines()
    # Not known to Route 53, or not drawn: Western Sahara, the Antarctic (it has a point).
    assert set(found) - set(places()) <= {"EH"}
    assert {f"US-{code}" for code in ("CA", "NY", "AK", "HI", "DC")} <= set(found) and len(found) > 200
    for rings in found.values():
        for ring in rings:
            assert len(ring) % 2 == 0 and len(ring) >= 6 and all(-5400 <= one <= 5400 for one in ring)
