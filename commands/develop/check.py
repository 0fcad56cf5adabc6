"""`lamp check`, all checks that run nothing. Every check runs, even if an earlier one failed."""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from chalicelib.config import fleet, overlay
from chalicelib.config.declared import Fleet
from chalicelib.crontab import diagnostics as findings
from chalicelib.infrastructure import files as generated
from chalicelib.infrastructure import limits, networks
from commands import roots
from commands.develop import fleet_schema, groups
from commands.errors import DeclaredMistake, UsageError
from commands.processes import Children
from commands.terminal import Console, line, write_json

# Two at a time: the heavy ones are single-threaded programs, and CI has two cores.
WORKERS = 2


class Verdict(NamedTuple):
    """The result of one check. `findings` are lines `file:line:column: what`, and a warning leaves `ok` true."""

    check: str
    ok: bool
    seconds: float
    findings: list[str]


Findings = tuple[bool, list[str]]
Check = Callable[[Children], Findings]


def check(
    renew: Annotated[bool, typer.Option("--renew", help="First generate the schema and .chalice/ anew.")] = False,
    online: Annotated[bool, typer.Option("--online", help="Also ask for known vulnerabilities.")] = False,
    aws: Annotated[bool, typer.Option("--aws", help="Also look up in the account what fleet.toml names.")] = False,
    stage: Annotated[list[str] | None, typer.Option(
        help="With --aws, also what deploying this stage would refuse. May be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """The errors of fleet.toml, cron/, tasks/ and the CloudFormation template of the fleet.

    On Lamplighter's own example it also checks Lamplighter, with lint, types, import rules and generated files.
    """
    if renew:
        _schema_file().write_text(_schema())
        if not roots.own():
            generated.renew(roots.PRODUCT / ".chalice")
    if stage and not aws:
        raise UsageError("--stage looks at what is deployed. Add --aws")
    checks = chosen() | (_online() if online else {}) | ({"account": _account} if aws else {})
    checks |= {"deployed": _deployed(stage)} if stage else {}
    verdicts = gather(checks) if as_json else report(checks)
    if as_json:
        write_json([verdict._asdict() for verdict in verdicts])
    raise typer.Exit(not all(verdict.ok for verdict in verdicts))


def chosen() -> dict[str, Check]:
    """The checks of the fleet, and of the product where the two are one. Their requirements are installed."""
    own = roots.own()
    groups.need(*(("check",) if own else ("check", "test")))
    return OF_FLEET if own else OF_PRODUCT | OF_FLEET


def _online() -> dict[str, Check]:
    """The checks that ask somebody on the internet."""
    groups.need("audit")
    from commands.develop import audit

    return {"advisories": audit.vulnerabilities}


def report(checks: dict[str, Check]) -> list[Verdict]:
    """Runs `checks` and prints what they found, then one table."""
    console = Console()
    with Console(stderr=True).status(f"checking: {', '.join(checks)}"):
        verdicts = gather(checks)
    for verdict in verdicts:
        colour = "yellow" if verdict.ok else "red"
        for finding in verdict.findings:
            console.print(Text.assemble((line(f"{verdict.check}: "), colour), line(finding)), soft_wrap=True)
    console.print(_table(verdicts))
    return verdicts


def gather(checks: dict[str, Check]) -> list[Verdict]:
    """The results of `checks`, in their order."""
    pool = ThreadPoolExecutor(WORKERS)
    with Children() as children:
        try:
            waiting = [pool.submit(_judge, name, body, children) for name, body in checks.items()]
            return [future.result() for future in waiting]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _judge(name: str, body: Check, children: Children) -> Verdict:
    begin = time.monotonic()
    try:
        ok, found = body(children)
    except (UsageError, fleet.FleetError) as mistake:
        ok, found = False, str(mistake).splitlines()
    return Verdict(name, ok, round(time.monotonic() - begin, 2), found)


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("check")
    table.add_column("result")
    table.add_column("findings", justify="right")
    table.add_column("seconds", justify="right")
    for verdict in verdicts:
        result = Text("ok", "green") if verdict.ok else Text("failed", "bold red")
        table.add_row(line(verdict.check), result, str(len(verdict.findings) or ""), f"{verdict.seconds:.1f}")
    return table


def _lint(*words: str) -> Check:
    """A `_program` that judges the product alone, because the code in cron/ and tasks/ is its owner's."""
    run = _program(*words)

    def judge(children: Children) -> Findings:
        ok, lines = run(children)
        ours = [line for line in lines if not line.startswith(_OF_USERS)]
        return ok or bool(lines and not ours), ours

    return judge


def _program(*words: str) -> Check:
    """A check that is a program. Its exit status is the result, its output the diagnostics."""

    def run(children: Children) -> Findings:
        status, text = children.run([sys.executable, *words], capture=True)
        return status == 0, [line for line in text.splitlines() if line.strip()] if status else []

    return run


def _imports(children: Children) -> Findings:
    _, lines = _program("-c", _LINT_IMPORTS, "--no-logo")(children)
    # What follows is one block a contract; the roll-call of all contracts before it says nothing new.
    start = lines.index("Broken contracts") + 2 if "Broken contracts" in lines else 0
    return not lines, [line for line in lines[start:] if line.strip("-")]


def _fleet(children: Children) -> Findings:
    declared = roots.fleet() / "fleet.toml"
    loaded = [fleet.load(declared, stage) for stage in ("", *overlay.stages(declared))]
    wrong = list(dict.fromkeys(mistake for one in loaded for mistake in networks.mistakes(one)))
    return not wrong, [*wrong, *dict.fromkeys(warning for one in loaded for warning in networks.warnings(one))]


def _account(children: Children) -> Findings:
    from commands.deploy import account, account_names

    declared = roots.fleet() / "fleet.toml"
    stages = [fleet.load(declared, stage) for stage in ("", *overlay.stages(declared))]
    found = account_names.wrong(account.Account(), stages)
    return not found, found


def _deployed(stages: Sequence[str]) -> Check:
    """Compares what is deployed with fleet.toml, as a deployment of the stages does before it changes anything."""

    def compare(children: Children) -> Findings:
        from commands.deploy import account, rehearsal

        declared = roots.fleet() / "fleet.toml"
        refused, told = rehearsal.wrong(account.Account(), {one: fleet.load(declared, one) for one in stages})
        return not refused, [*refused, *told]

    return compare


def _schema_file() -> Path:
    """The schema that editors are pointed at: of the fleet, or of the product's own example."""
    return roots.fleet() / fleet_schema.COPY if roots.own() else roots.PRODUCT / fleet_schema.FILE


def _schema() -> str:
    if roots.own():
        return (roots.PRODUCT / fleet_schema.FILE).read_text()
    return fleet_schema.render((roots.PRODUCT / "docs" / "fleet.md").read_text())


def _schema_is_current(children: Children) -> Findings:
    file = _schema_file()
    if roots.own() and not file.exists():
        return True, []  # a fleet may do without
    current = file.is_file() and file.read_text() == _schema()
    # A fleet's copy only serves editors; the product's is what `lamp init` copies.
    return current or roots.own(), [] if current else [f"{file.name}:1: is of another version; ./lamp check --renew"]


def _generated(children: Children) -> Findings:
    found = generated.stale(roots.PRODUCT / ".chalice")
    return not found, found


def _cron(children: Children) -> Findings:
    from chalicelib.crontab import loader
    from chalicelib.tasks import lint as tasks
    from chalicelib.tasks import registry

    jobs, found = loader.of_fleet(roots.fleet(), _declared())
    if any(job.policy.on == "queue" for job in jobs):
        found = sorted([*found, *tasks.messages(jobs, registry.load(roots.fleet() / "tasks"))])
    return not findings.errors(found), [f"cron/{finding}" for finding in sorted(findings.grouped(found))]


def _tasks(children: Children) -> Findings:
    from chalicelib.tasks import lint as tasks
    from chalicelib.tasks import registry

    declared = _declared()
    if declared is None:
        return False, ["skipped, since fleet.toml has errors"]
    found = tasks.check(declared, registry.load(roots.fleet() / "tasks"))
    return not findings.errors(found), [str(finding) for finding in found]


def _requirements(children: Children) -> Findings:
    from commands.deploy import dependencies, sbom

    file = roots.fleet() / "requirements.txt"
    if file.is_file():
        dependencies.hashed(file)
    return True, sbom.unhashed(roots.fleet())


def _template(children: Children) -> Findings:
    from commands.deploy import packaging

    not_made = "not made: fleet.toml, cron/ or tasks/ has errors"
    try:
        package = packaging.build("check")
    except DeclaredMistake:
        return False, [not_made]
    except fleet.FleetError as mistake:
        # One that only the template shows, such as a name that is too long, is told here.
        return False, str(mistake).splitlines() if _declared() else [not_made]
    regions = [region.name for region in package.fleet.regions]
    too_long = [mistake for stage in overlay.stages(roots.fleet() / "fleet.toml")
                for mistake in limits.mistakes(package.template, f"{package.fleet.name}-{stage}", regions)]
    ok, lines = _linted({"template.json": package.template, "coordination.json": package.coordination}, regions,
                        children)
    return ok and not too_long, [*too_long, *lines]


def _linted(templates: Mapping[str, dict[str, Any]], regions: Sequence[str], children: Children) -> Findings:
    """cfn-lint's judgement of templates by file name. It takes 13 s, so a clean one is kept by what was judged."""
    texts = {name: json.dumps(template, indent=1) for name, template in templates.items()}
    judged = json.dumps([metadata.version("cfn-lint"), *regions, texts])
    clean = roots.fleet() / ".build" / "clean" / hashlib.sha256(judged.encode()).hexdigest()
    if clean.exists():
        return True, []
    with tempfile.TemporaryDirectory(prefix="lamp-check-") as folder:
        files = [Path(folder) / name for name in texts]
        for file, text in zip(files, texts.values(), strict=True):
            file.write_text(text)
        words = ["-c", _CFN_LINT, "--format", "parseable", "--regions", *regions, "--", *map(str, files)]
        ok, lines = _program(*words)(children)
    if ok:
        clean.parent.mkdir(parents=True, exist_ok=True)
        clean.touch()
    return ok, [line.removeprefix(f"{folder}/") for line in lines]


def _declared() -> Fleet | None:
    try:
        return fleet.load(roots.fleet() / "fleet.toml")
    except fleet.FleetError:
        return None  # a check of its own tells


_OF_USERS = ("cron/", "tasks/")
# Programs without a module that `python -m` could run; their scripts carry a path of the machine that installed them.
_LINT_IMPORTS = "from importlinter.cli import lint_imports_command as lint; lint()"
_CFN_LINT = "import sys; from cfnlint.runner import main; sys.exit(main())"

OF_PRODUCT: dict[str, Check] = {
    "mypy": _lint("-m", "mypy", "--no-error-summary", "--show-column-numbers", "--no-pretty"),
    "ruff": _lint("-m", "ruff", "check", "--quiet", "--output-format", "concise"),
    "imports": _imports, "generated": _generated,
}
OF_FLEET: dict[str, Check] = {
    "template": _template, "fleet.toml": _fleet, "cron/": _cron, "tasks/": _tasks, "schema": _schema_is_current,
    "requirements": _requirements,
}
