"""The shapes of lines that people write, as real crontabs have them: the findings of each, and which become jobs."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from chalicelib.crontab import parser
from chalicelib.crontab.parser import Source

SHAPES = tomllib.loads((Path(__file__).parent / "shapes.toml").read_text())["shape"]
SOURCES = {"user": Source("crontabs/deploy", False, "deploy"), "system": Source("cron.d/app", True)}
CASES = [pytest.param(shape, line, id=f"{shape['folder']}: {line}") for shape in SHAPES for line in shape["lines"]]


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "line"), CASES)
def test_a_line_of_a_shape_has_its_findings(shape: dict[str, Any], line: str) -> None:
    found = parser.read(f"{line}\n".encode(), SOURCES[shape["folder"]])
    codes = [finding.code for finding in found.findings]
    assert codes in [[code] for code in shape["codes"]] if shape.get("any") else codes == shape["codes"]
    assert len(found.jobs) == shape["jobs"]
    assert all(shape.get("remedy", "") in finding.remedy for finding in found.findings)
    assert all(finding.severity == ("error" if finding.code.startswith("bad-") else "warning")
               for finding in found.findings)


def test_a_line_for_the_boot_leaves_the_rest_of_the_file_as_it_is() -> None:
    text = b"2 * * * * root /usr/bin/true\n# lamp: timeout=1m\n@reboot root /usr/bin/false\n3 * * * * root date\n"
    found = parser.read(text, SOURCES["system"])
    assert [(job.command, job.policy.timeout) for job in found.jobs] == [("/usr/bin/true", 600), ("date", 600)]
    [left_out] = found.findings
    assert (left_out.line, left_out.severity) == (3, "warning")
    assert "left out" in left_out.message and "release" in left_out.remedy


@pytest.mark.parametrize(("line", "written"), [
    ("0 15 10 * * 2-6 x", "`15 10 * * 2-6` if the first field is seconds"),
    ("30 2 * * 1-5 2026 x", "`30 2 * * 1-5` if the last field is the year"),
    ("0 30 2 * * 1-5 x", "`30 2 * * 1-5` if the first field is seconds"),
    ("0 0 12 ? * MON-FRI x", "`0 12 * * MON-FRI` if the first field is seconds"),
    ("0 10 * * ? * x", "`0 10 * * *` if the last field is the year"),
    ("*/10 * * * * * x", "`* * * * *` if the first field is seconds, or `*/10 * * * *` if the last field is the year"),
    ("* * * * * * x", "Write `* * * * *`"),
])
def test_six_fields_are_told_as_the_five_that_were_meant(line: str, written: str) -> None:
    [finding] = parser.read(f"{line}\n".encode(), SOURCES["user"]).findings
    assert finding.remedy.startswith("this line has six fields of time") and finding.remedy.endswith(written)
