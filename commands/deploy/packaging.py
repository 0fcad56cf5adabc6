"""The only way to a package. It checks the fleet, compiles the schedules, zips, and makes the template.

`./lamp demo`, `check` and `deploy` all take this way. Chalice packages a staged copy of the product. Its vendor/ holds
the requirements, `lamplighter`, the fleet's cron/, tasks/ and fleet.toml, and the compiled schedules. Only `.build` in
the fleet's folder is written.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from chalicelib import queue_addresses
from chalicelib.config import fleet
from chalicelib.config.declared import PACKED, Fleet
from chalicelib.crontab.identity import Changes, Named
from chalicelib.crontab.job import Job
from chalicelib.infrastructure import limits, policies, queues, tables
from chalicelib.infrastructure.parts import logical
from chalicelib.infrastructure.template import merged
from chalicelib.schedules.lambdas import RUNNER as JOB_RUNNER
from chalicelib.tasks import manifest
from chalicelib.tasks.lambdas import RUNNER as TASK_RUNNER
from commands import roots
from commands.deploy import dependencies, runner_policy, sbom, staging, task_check
from commands.errors import DeclaredMistake, UsageError

STAGE = re.compile(r"[a-z][a-z0-9-]{0,15}")
# How long a package is kept whose stage has been packaged anew: it may still be on its way to a region.
_KEPT_SECONDS = 86_400
# What `chalice` runs, without its start-up script: that one carries a path of the machine that installed it. Its zip is
# not compressed (0 is ZIP_STORED), because `archive` reads it at once and compresses what it keeps.
_CHALICE = ("import sys; from chalice.cli import main; from chalice.utils import OSUtils; OSUtils.ZIP_DEFLATED = 0; "
            "sys.exit(main())")


class Package(msgspec.Struct, frozen=True):
    """A package for any region, with the zip, its SHA-256, the two templates, its warnings, and the names of its jobs.
    """

    fleet: Fleet
    stage: str
    zip: Path
    digest: str
    template: dict[str, Any]
    coordination: dict[str, Any]
    warnings: tuple[str, ...]
    names: Named = Named((), Changes())

    @property
    def stack(self) -> str:
        """The stack's name in every region."""
        return f"{self.fleet.name}-{self.stage}"


def build(
    stage: str, *, root: Path | None = None, product: Path = roots.PRODUCT,
    machine: dependencies.Machine = dependencies.LAMBDA, more: str = "", deployed: Sequence[Sequence[Job]] = (),
) -> Package:
    """Package `product` with the fleet in `root` (by default the one that is worked on) for `stage`.

    `more` is put below what fleet.toml says. `deployed` are the jobs of the releases that this one follows, whose names
    its jobs keep. Raises `UsageError` or `FleetError` with every mistake in one text.
    """
    check_stage(stage)
    root = root or roots.fleet()
    declared = _declared(root, stage, more)
    compiled, names, warnings = schedules(root, declared, deployed)
    compiled[manifest.FILE] = task_check.compiled(root)
    compiled[queue_addresses.FILE] = queue_addresses.build(queues.tails(declared))
    home = root / ".build"
    home.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=f"{stage}-") as staged:
        project = Path(staged)
        functions = _stage(product, root, project, stage, declared, compiled)
        staging.check(project, (project, product, root))
        parts = _vendor(product, root, project / "vendor", machine, home / "wheels")
        (project / "vendor" / sbom.FILE).write_bytes(sbom.document(declared.name, stage, parts))
        text = (root / "fleet.toml").read_text() + more
        (project / "vendor" / PACKED).write_bytes(fleet.pack(text, stage))
        if more:
            told = project / "vendor" / "fleet.toml"
            told.unlink()
            told.write_text(text)
        template = _chalice(project, stage)
        target, digest = _repack(project / "out", home, f"{declared.name}-{stage}-{machine.name}")
    sbom.beside(target).write_bytes(sbom.document(declared.name, stage, parts, digest))
    _check_functions(template, functions)
    if wrong := list(limits.oversized(template, f"{declared.name}-{stage}", [one.name for one in declared.regions])):
        raise DeclaredMistake("\n".join(wrong))
    warnings += sbom.unhashed(root)
    warnings += task_check.warnings(root, stage, declared, template)
    coordination = tables.coordination(declared, stage)
    return Package(declared, stage, target, digest, template, coordination, tuple(warnings), names)


def _declared(root: Path, stage: str, more: str) -> Fleet:
    declared = fleet.load(root / "fleet.toml", stage)
    return fleet.parse((root / "fleet.toml").read_text() + more, str(root / "fleet.toml"), stage) if more else declared


def check_stage(stage: str) -> None:
    """`UsageError` if `stage` cannot be a part of every name in AWS."""
    if not STAGE.fullmatch(stage):
        raise UsageError(f"--stage {stage!r} is no stage, which is up to 16 small letters, digits and hyphens, as in "
                         "prod")


def schedules(
    root: Path, declared: Fleet, deployed: Sequence[Sequence[Job]] = ()
) -> tuple[dict[str, bytes], Named, list[str]]:
    """timetable.bin and jobs.bin of the folder cron/, its jobs with the names that they keep, and the warnings.

    `DeclaredMistake` lists all that is wrong.
    """
    from chalicelib.crontab import diagnostics, identity, job_file, loader, timetable

    jobs, found = loader.of_fleet(root, declared)
    wrong = diagnostics.errors(found)
    if wrong:
        raise DeclaredMistake("\n".join(diagnostics.render(wrong)))
    told = list(diagnostics.render([finding for finding in found if finding.severity != "error"]))
    names = identity.named(jobs, *deployed)
    return {"timetable.bin": timetable.build(names.jobs), "jobs.bin": job_file.build(names.jobs)}, names, told


def _stage(
    product: Path, root: Path, project: Path, stage: str, declared: Fleet, compiled: dict[str, bytes]
) -> Sequence[str]:
    """Lay out what Chalice reads. The names of the functions that .chalice/config.json knows."""
    for name in ("app.py", "chalicelib"):
        (project / name).symlink_to(product / name)
    (project / "requirements.txt").touch()  # they lie in vendor/ already
    vendor = project / "vendor"
    vendor.mkdir()
    (vendor / "lamplighter").symlink_to(product / "lamplighter")
    for name in ("cron", "tasks", "fleet.toml"):
        if (root / name).exists():
            (vendor / name).symlink_to(root / name)
    for name, content in compiled.items():
        (vendor / name).write_bytes(content)
    if declared.databases and declared.databases.ca:
        _certificates(root, vendor, declared.databases.ca)
    return _settings(root, product / ".chalice", project / ".chalice", stage, declared)


def _vendor(
    product: Path, root: Path, vendor: Path, machine: dependencies.Machine, cache: Path
) -> list[dependencies.Fetched]:
    """The packages that the product needs, and those of the fleet's requirements.txt: they never replace the former."""
    sites = sbom.sites(product, root, machine, cache)
    for site in sites:
        for package in sorted(site.iterdir()):
            if not (vendor / package.name).is_symlink():
                (vendor / package.name).symlink_to(package)
    return sbom.parts(product, sites)


def _certificates(root: Path, vendor: Path, name: str) -> None:
    """The file of certificates that fleet.toml names goes along, where the Lambdas look for it."""
    file = staging.project_file(root, "databases.ca", name,
                                "Put the certificates there, or into the secret as its key ca")
    (vendor / name).parent.mkdir(parents=True, exist_ok=True)
    (vendor / name).symlink_to(file.resolve())


def _settings(root: Path, source: Path, target: Path, stage: str, declared: Fleet) -> Sequence[str]:
    config = _json(source / "config.json")
    config["stages"] = {stage: config["stages"]["any"]}
    functions = list(config["stages"][stage]["lambda_functions"])
    (target / "policies").mkdir(parents=True)
    (target / "config.json").write_text(json.dumps(config))
    # For a Lambda that config.json does not know, so that Chalice goes on and the difference is told as such.
    (target / f"policy-{stage}.json").write_text('{"Version": "2012-10-17", "Statement": []}')
    for path in sorted((source / "policies").glob("*.json")):
        (target / "policies" / path.name).write_text(json.dumps(policies.resolved(_json(path), declared)))
    own = runner_policy.statements(root, declared, stage)
    for runner in (JOB_RUNNER, TASK_RUNNER) if own else ():
        path = target / "policies" / f"policy-{runner}.json"
        policy = _json(path)
        path.write_text(json.dumps({**policy, "Statement": [*policy["Statement"], *own]}))
    whole = merged(_json(source / "resources.json"), declared, stage, functions)
    (target / "merge.json").write_text(json.dumps(whole))
    return functions


def _chalice(project: Path, stage: str) -> dict[str, Any]:
    words = [sys.executable, "-P", "-c", _CHALICE, "package", "--stage", stage, "--merge-template",
             ".chalice/merge.json", "out"]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "AWS_DEFAULT_REGION": "us-east-1",
                   "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(project)}
    done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines() or done.stdout.strip().splitlines()
        raise UsageError(f"chalice cannot package the app ({last[-1] if last else 'it gave no reason'})")
    return _json(project / "out" / "sam.json")


def _repack(out: Path, home: Path, name: str) -> tuple[Path, str]:
    """The zip in its final form, in `home`, and its digest. Those of the same `name` go after a day.

    Its digest is in the file's name: two packagings of one stage at the same time may differ, and each keeps its own.
    """
    half = out / "packed.zip"
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONHASHSEED": "0", "PYTHONPATH": str(roots.PRODUCT)}
    done = subprocess.run([sys.executable, "-P", "-m", "commands.deploy.archive", str(out / "deployment.zip"),
                           str(half), str(home / "compiled")], env=environment, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines() or [f"status {done.returncode}, without a reason"]
        raise UsageError(f"the package cannot be zipped ({last[-1]})")
    digest = hashlib.sha256(half.read_bytes()).hexdigest()
    target = half.replace(home / f"{name}-{digest[:16]}.zip")
    for old in home.glob(f"{name}-*.zip"):
        if old.stat().st_mtime < time.time() - _KEPT_SECONDS:
            old.unlink(missing_ok=True)
            sbom.beside(old).unlink(missing_ok=True)
    return target, digest


def _check_functions(template: dict[str, Any], functions: Sequence[str]) -> None:
    """app.py and .chalice/config.json must name the same Lambdas, because Chalice ignores a difference silently."""
    known = {logical(name) for name in functions}
    found = {id for id, part in template["Resources"].items() if part.get("Type") == "AWS::Serverless::Function"}
    if known != found:
        raise UsageError(f".chalice/config.json: its lambda_functions and app.py differ in {sorted(known ^ found)}")


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    return found
