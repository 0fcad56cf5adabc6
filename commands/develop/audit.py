"""The known vulnerabilities of what is in the Lambda package, by pip-audit. It asks the advisories of pypi.org."""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from commands import roots
from commands.deploy import dependencies, sbom
from commands.errors import UsageError
from commands.processes import Children

_SECONDS = "15"


def vulnerabilities(children: Children, root: Path | None = None) -> tuple[bool, list[str]]:
    """Whether no part of the package is vulnerable, and a line for each advisory and each part that has no answer.

    `UsageError` if the advisories cannot be read: then nothing is known.
    """
    root = root or roots.fleet()
    sites = sbom.sites(roots.PRODUCT, root, dependencies.LAMBDA, root / ".build" / "wheels")
    parts = sbom.parts(roots.PRODUCT, sites)
    with tempfile.TemporaryDirectory(prefix="lamp-audit-") as folder:
        asked, answer = Path(folder) / "requirements.txt", Path(folder) / "answer.json"
        asked.write_text("".join(f"{part.name}=={part.version}\n" for part in parts))
        # Versions and hashes are decided already, so pip has nothing to resolve or to install.
        _, text = children.run(
            [sys.executable, "-m", "pip_audit", "--requirement", str(asked), "--no-deps", "--disable-pip",
             "--format", "json", "--output", str(answer), "--progress-spinner", "off", "--timeout", _SECONDS],
            capture=True)
        try:
            found = json.loads(answer.read_text())["dependencies"]
        except (OSError, ValueError, KeyError):
            last = (text.strip().splitlines() or ["pip-audit said nothing"])[-1]
            raise UsageError(_unread(len(parts), last)) from None
    if all("skip_reason" in part for part in found):
        # A proxy or mirror that answers for pypi.org knows none of them.
        raise UsageError(_unread(len(parts), found[0]["skip_reason"] if found else "pip-audit named none"))
    return not any(part.get("vulns") for part in found), list(_lines(found))


def _unread(count: int, why: str) -> str:
    return (f"the advisories of pypi.org cannot be read, so nothing is known about {count} packages ({why}). Try again "
            "where https://pypi.org/pypi is reachable. Without --online, lamp check does not ask")


def _lines(found: list[dict[str, Any]]) -> Iterator[str]:
    for part in found:
        if "skip_reason" in part:
            yield f"{part['name']}: unknown: {part['skip_reason']}"
        for one in part.get("vulns", ()):
            name = ", ".join([one["id"], *(alias for alias in one.get("aliases", ()) if alias.startswith("CVE-"))])
            fixed = one.get("fix_versions")
            yield (f"{part['name']} {part['version']}: {name}: "
                   + (f"take {' or '.join(fixed)}" if fixed else "no version without it is known"))
