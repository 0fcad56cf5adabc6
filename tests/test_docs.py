"""The pages: their sums add up, their links lead somewhere, the commands that they name exist, and docs/schedules.md
lists what the code knows."""

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest

from chalicelib import registry
from chalicelib.config import durations
from chalicelib.config.fleet import DeclaredFleet
from chalicelib.crontab import loader, parser, policy
from chalicelib.crontab.fields import FIELDS
from chalicelib.crontab.job import Overlap, Target
from chalicelib.engine.journal import JournalEntry
from chalicelib.schedules.decide import explain
from chalicelib.schedules.state import ALERT_KIND_BY_STATE
from commands.cli import COMMANDS
from commands.conformance.cases import TABLE, records

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


ROW = r"^\| .+ \| ([\d,]+) \| \$([\d.]+) (per million|each) \| (.+) \|$"


def costs(name: str, heading: str) -> tuple[str, list[list[float]], list[float]]:
    """A page's section on costs: its text, the columns of costs, and their sums as they are told.

    Each cost must be its row's quantity times its price; `-` is none.
    """
    section = (ROOT / "docs" / name).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = []
    for quantity, price, unit, told in re.findall(ROW, section, re.M):
        exact = int(quantity.replace(",", "")) * float(price) / (1e6 if unit == "per million" else 1)
        assert {cell for cell in told.split(" | ") if cell != "-"} == {f"{exact:.2f}"}, quantity
        lines.append([0 if cell == "-" else float(cell) for cell in told.split(" | ")])
    together = re.search(r"^\| \*\*Together\*\* [| ]+(\*\*.+) \|$", section, re.M)
    assert together
    return section, [list(column) for column in zip(*lines, strict=True)], [
        float(cell.strip("*")) for cell in together[1].split(" | ")]


@pytest.mark.parametrize(("name", "heading", "least"), [
    ("deploy.md", "Cost", 10), ("routing.md", "Cost", 9), ("health-checks.md", "Cost", 6),
    ("tunnels-host.md", "Cost", 7)])
def test_the_costs_add_up(name: str, heading: str, least: int) -> None:
    _, columns, told = costs(name, heading)
    assert len(columns[0]) > least
    assert [round(sum(column), 2) for column in columns] == told


def test_what_else_is_said_of_the_cost_of_routing() -> None:
    section, [column], [together] = costs("routing.md", "Cost")
    # 15 checkers every 10 s for 30 days, for each of three marks.
    assert "| 11,664,000 |" in section and 15 * 30 * 86_400 // 10 * 3 == 11_664_000
    fast, requests = 3 * 2 * 1.00, round(column[8] - 11.664 / 3 * 0.40, 2)
    assert f"(${fast:.2f} less) and a third of the S3 requests (${requests:.2f} less)" in section
    assert f"**`interval = 30`** costs ${together - fast - requests:.2f}, " in section
    assert f"adds ${sum(column[1:8]) / 3:.2f} for its checks at 10 s, and ${column[8] / 3:.2f} for S3" in section
    assert f"takes up to ${column[1] + column[4] + column[7]:.2f} off" in section


def test_what_else_is_said_of_the_cost_of_health_checks() -> None:
    section, _, _ = costs("health-checks.md", "Cost")
    assert f"for each of 20 hosts would be ${20 * (0.50 + 1.00 + 1.00):.2f} every" in " ".join(section.split())


def test_what_the_conformance_check_makes_and_costs_is_told() -> None:
    page = " ".join((ROOT / "docs" / "routing.md").read_text().split())
    many = len(records("Z", "lamp-test.example.com", dict.fromkeys(TABLE.checks, "")))
    price = sum(0.50 if config["Type"] == "CALCULATED" else 0.75 for config in TABLE.checks.values())
    assert f"highest cost (${price:.2f}), and asks. It makes {many} record sets" in page
    assert len(TABLE.checks) == 5 and "and five health checks" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_a_page_lead_to_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s:]*#[^)\s]+)\)", page.read_text()):
        file, _, heading = link.partition("#")
        text = (page.parent / file).read_text() if file else page.read_text()
        slugs = {_slug(title) for title in re.findall(r"^#+ (.+)$", text, re.M)}
        assert heading in slugs, link


def _slug(title: str) -> str:
    """A heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_named_exist(page: Path) -> None:
    for words in re.findall(r"\./lamp ([a-z]+(?: [a-z][a-z-]*)?)", page.read_text()):
        first, *second = words.split()
        families = {name.split()[0] for name in COMMANDS if " " in name}
        assert first in COMMANDS or " ".join([first, *second]) in COMMANDS or (first in families and not second), words


def keys(kind: object, above: str = "") -> Iterator[str]:
    """The keys of fleet.toml below a type, as in `schedules.http.base`."""
    for one in (kind, *get_args(kind), *(inner for each in get_args(kind) for inner in get_args(each))):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            for name, inner in get_type_hints(one).items():
                yield f"{above}{name}"
                yield from keys(inner, f"{above}{name}.")


def test_a_key_of_fleet_toml_that_is_named_exists() -> None:
    known = set(keys(DeclaredFleet))
    tables = {key.partition(".")[0] for key in known if "." in key}
    operations = {declared.name for declared in registry.lambdas()}
    named = {(page.name, name) for page in PAGES for name in re.findall(r"`([a-z_]+\.[a-z_.]+)`", page.read_text())
             if name.partition(".")[0] in tables and not name.endswith((".py", ".toml"))}
    assert len(named) > 40 and {"schedules", "databases", "health_checks"} <= tables
    assert [one for one in sorted(named) if one[1] not in known | operations] == []


# Names of other people's: of AWS, boto3, Debian's cron, the servers.
THEIRS = {"HealthCheckConfig", "ResourceRecordSet", "VpcConfig", "DeletionPolicy", "NoSuchKey", "HealthCheck",
          "InvoicesDead", "InstanceState", "PublicAccessBlockConfiguration", "Origin", "Value", "GeoLocation",
          "RecordName", "Weight", "Queues", "RecursiveLoop", "ReservedConcurrentExecutions"}


@pytest.mark.slow
def test_a_class_that_a_docstring_names_exists() -> None:
    files = [file for folder in ("chalicelib", "commands", "sandbox", "simulation", "testing", "lamplighter", "agent")
             for file in sorted((ROOT / folder).rglob("*.py"))]
    trees = {file: ast.parse(file.read_text()) for file in files}
    known = {name for tree in trees.values() for node in ast.walk(tree) for name in (
        getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None))}
    known |= set(dir(builtins))
    gone = []
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                named = re.findall(r"`(?:\w+\.)*([A-Z][a-z]+(?:[A-Z][a-z]+)*)`", ast.get_docstring(node) or "")
                gone += [f"{file.relative_to(ROOT)}: {name}" for name in named if name not in known | THEIRS]
    assert gone == []


def test_no_page_says_that_the_journal_has_the_caller() -> None:
    assert not {"caller", "user", "identity"} & set(JournalEntry.__struct_fields__)
    for page in (ROOT / "SECURITY.md", *PAGES):
        for paragraph in re.split(r"\n\s*\n|\n(?=- |\| )", page.read_text()):
            if "journal" in paragraph and re.search(r"\bwho\b(?! can| may)|\bcallers?\b", paragraph):
                assert "CloudTrail" in paragraph, f"{page.name}: {paragraph}"


def test_every_command_is_told_in_the_readme() -> None:
    page = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"./lamp {name}" not in page] == []


def rows(heading: str, first: str) -> list[list[str]]:
    """The rows, as cells, of the table under `heading` of docs/schedules.md whose first column is called `first`."""
    page = (ROOT / "docs" / "schedules.md").read_text()
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = re.split(rf"^\| {re.escape(first)} \|.*\n\|[-|]+\|\n", section, flags=re.M)[1].split("\n\n")[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.strip().splitlines()]


def names(heading: str, first: str) -> list[str]:
    """What stands in backquotes in the first column of that table."""
    return [name for row in rows(heading, first) for name in re.findall(r"`([^`]+)`", row[0])]


def test_every_key_of_a_policy_is_told_with_its_default() -> None:
    told = {row[0].strip("`"): row[2].strip("`") for row in rows("Policy of a job", "key")}
    written = {"name": "none", **{key: _written(key, value) for key, value in _defaults().items()}}
    assert list(told) == list(policy.READERS)
    assert told == written


def _defaults() -> dict[str, str | int]:
    return {key: getattr(policy.DEFAULTS, key) for key in policy.DEFAULTS.__struct_fields__}


def _written(key: str, value: str | int) -> str:
    return durations.words(int(value)) if key in ("timeout", "jitter") else str(value) or "none"


@pytest.mark.parametrize("key", ["overlap", "on", "timeout", "jitter", "catch_up", "retries"])
def test_the_values_of_a_policy_that_are_told_are_those_that_can_be_written(key: str) -> None:
    told = next(re.findall(r"`([^`]+)`", row[1]) for row in rows("Policy of a job", "key") if row[0] == f"`{key}`")
    for text in told:
        policy.value(key, text)
    if key in ("overlap", "on"):
        assert tuple(told) == get_args({"overlap": Overlap, "on": Target}[key])
    else:
        with pytest.raises(policy.PolicyError):
            policy.value(key, _beyond(key, told[-1]))


def _beyond(key: str, most: str) -> str:
    return str(int(most) + 1) if key == "retries" else durations.words(durations.seconds(most) + 1)


def test_every_place_where_a_command_runs_is_told() -> None:
    assert [row[0].strip("`") for row in rows("Targets", "`on=`")] == list(get_args(Target))


def test_every_answer_of_why_is_told() -> None:
    assert sorted(names("Manual operations", "`explain` answers")) == sorted(get_args(explain.Answer))


def test_every_kind_of_alert_is_told() -> None:
    tree = ast.parse((ROOT / "chalicelib" / "schedules" / "decide" / "alerts.py").read_text())
    kinds = {text for node in ast.walk(tree) for text in _kinds(node)}
    assert len(kinds) > 3
    assert sorted(names("Alerts", "kind")) == sorted(kinds | set(ALERT_KIND_BY_STATE.values()))


def _kinds(node: ast.AST) -> Iterator[str]:
    """The kinds of alert that are written out: `_event("Missed", ...)`."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_event":
        yield from _texts(node.args[0])


@pytest.mark.slow
@pytest.mark.parametrize("severity", ["error", "warning"])
def test_every_finding_is_told_under_its_severity(severity: str) -> None:
    told = names("Diagnostics", severity)
    assert sorted(told) == sorted({code for code, kind in found_codes() if kind == severity})


def found_codes() -> set[tuple[str, str]]:
    """All codes that reading schedules can give, each with its severity: written out, or made of Debian's words."""
    found = {("reboot", "error"), ("reboot", "warning"), *((code, "error") for code in made_of_words())}
    for path in (ROOT / "chalicelib" / "crontab").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found |= set(_codes(node))
    return found


def made_of_words() -> set[str]:
    """The codes that are made of Debian's own messages, as reading gives them."""
    lines = [" ".join(["*"] * number + ["x"] + ["*"] * (4 - number)) + " root true" for number in range(len(FIELDS))]
    text = "\n".join([*lines, "@noon root true", "* * * * * root", "* * * * * a/b true", ""])
    return {finding.code for finding in parser.read(text.encode(), parser.Source("cron.d/a", True)).findings}


# Where the code and the severity stand among the arguments of what makes a finding.
_MAKERS = {"LineDiagnostic": (1, 4), "_finding": (1, None), "_file_finding": (2, 1), "Need": (0, 9)}


def _codes(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code":
        yield from ((code, "warning") for code in _texts(node.value) if code != "reboot")
    if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in _MAKERS:
        return
    at, severity = _MAKERS[getattr(node.func, "id", "")]
    kind = "error" if severity is None else "warning"
    if severity is not None and len(node.args) > severity:
        kind = next(iter(_texts(node.args[severity])), kind)
    yield from ((code, kind) for code in _texts(node.args[at]))


def _texts(node: ast.AST) -> Iterator[str]:
    """The texts that an expression can be, as far as they are written out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*_texts(node.body), *_texts(node.orelse))


def test_the_examples_of_schedules_are_read_without_a_finding(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "schedules.md").read_text()
    (tmp_path / "crontabs").mkdir()
    (tmp_path / "cron.d").mkdir()
    (tmp_path / "cron.yaml").write_text(re.findall(r"```yaml\n(.*?)```", page, re.S)[0])
    (tmp_path / "reports.py").write_text(re.findall(r"```python\n(.*?)```", page, re.S)[0])
    examples = re.findall(r"^    (# lamp: .*)\n    (.*)$", page, re.M)
    (tmp_path / "cron.d" / "page").write_text("".join(f"{above}\n{line}\n" for above, line in examples))
    found = loader.load(tmp_path)
    assert found.findings == []
    assert len(found.jobs) == 2 + len(examples)
    assert len(examples) > 1


@pytest.mark.slow
def test_the_runbook_has_a_section_for_each_alert() -> None:
    """Each notice leads to the section of its kind."""
    sections = set(re.findall(r"^### ([A-Z]\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.M))
    kinds = {call.args[0].value for path in (ROOT / "chalicelib").rglob("*.py")
             for call in ast.walk(ast.parse(path.read_text()))
             if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
             and call.func.id in ("Alert", "condition", "_event") and call.args
             and isinstance(call.args[0], ast.Constant)}
    assert len(kinds) >= 15 and kinds - sections == set()
    texts = "".join(path.read_text() for path in (ROOT / "chalicelib").rglob("*.py"))
    assert [section for section in sections if f'"{section}"' not in texts] == []
