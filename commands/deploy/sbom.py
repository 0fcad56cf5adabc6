"""The software bill of materials of a package, as CycloneDX 1.6 JSON.

It names each package in the zip with its version, its purl, and the SHA-256 of the file that pip fetched. It lies in
the zip, and beside it with the digest of the whole zip. The same package has the same bill, without the time and place
of its making.
"""

import importlib.metadata
import json
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chalicelib.version import VERSION
from commands.deploy import dependencies
from commands.deploy.dependencies import Fetched, Machine
from commands.errors import UsageError

FILE = "sbom.cdx.json"
_SPEC = "1.6"
# The space of names for the serial numbers of bills (RFC 9562: version 5).
_SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "sbom.lamplighter")


def sites(product: Path, root: Path, machine: Machine, cache: Path) -> list[Path]:
    """The folders of what the product needs and, if there is any, of what the fleet's requirements.txt names."""
    own, locked = root / "requirements.txt", product / "requirements" / "lambda.txt"
    found = [dependencies.site(locked, machine, cache)]
    if own.is_file() and dependencies.versions(own):
        found.append(dependencies.site(own, machine, cache, beside=locked))
    return found


def parts(product: Path, sites: Sequence[Path]) -> list[Fetched]:
    """Each package in the zip once, those that Chalice adds by itself among them."""
    known = {normal(one.name): one for site in reversed(sites) for one in dependencies.fetched(site)}
    known["chalice"] = _chalice(product)
    return sorted(known.values(), key=lambda one: normal(one.name))


def _chalice(product: Path) -> Fetched:
    """Chalice copies its own modules into the package. Its lock has a hash for each file that pip may have taken."""
    version = importlib.metadata.version("chalice")
    lock = (product / "requirements" / "lamp.txt").read_text()
    entry = re.search(rf"^chalice=={re.escape(version)}\b.*?(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL)
    if entry is None:
        raise UsageError(f"requirements/lamp.txt does not lock chalice {version}, which is installed. Install the "
                         "locked one: pip install --require-hashes -r requirements/lamp.txt")
    return Fetched("chalice", version, tuple(sorted(re.findall(r"sha256:([0-9a-f]{64})", entry[0]))))


def unhashed(root: Path) -> list[str]:
    """A warning if the fleet's requirements have no hashes."""
    file = root / "requirements.txt"
    bare = [text for text, has in dependencies.requirements_of(file) if not has] if file.is_file() else []
    if not bare:
        return []
    others = f" (nor have {len(bare) - 1} others)" if len(bare) > 1 else ""
    return [f"{bare[0]} has no hash{others}, so the package index decides what the Lambdas run. {dependencies.REMEDY}"]


def document(fleet: str, stage: str, parts: Sequence[Fetched], digest: str = "") -> bytes:
    """The bill of the package of `fleet` for `stage`. `digest` is the SHA-256 (hex) of the zip, if that is known."""
    whole: dict[str, Any] = {"type": "application", "bom-ref": "package", "name": f"{fleet}-{stage}"}
    if digest:
        whole["hashes"] = _hashes([digest])
    components = [{"type": "framework", "bom-ref": "lamplighter", "name": "lamplighter", "version": VERSION,
                   "purl": f"pkg:generic/lamplighter@{VERSION}"}, *(_component(part) for part in parts)]
    body = {"metadata": {"component": whole}, "components": components,
            "dependencies": [{"ref": "package", "dependsOn": [str(one["bom-ref"]) for one in components]}]}
    serial = uuid.uuid5(_SPACE, json.dumps(body, sort_keys=True))
    head = {"$schema": f"http://cyclonedx.org/schema/bom-{_SPEC}.schema.json", "bomFormat": "CycloneDX",
            "specVersion": _SPEC, "serialNumber": f"urn:uuid:{serial}", "version": 1}
    return json.dumps(head | body, indent=1).encode()


def beside(package: Path) -> Path:
    """The file of the bill that lies next to a zip."""
    return package.with_suffix(".cdx.json")


def normal(name: str) -> str:
    """A package's name as purls and the index have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _component(part: Fetched) -> dict[str, Any]:
    purl = f"pkg:pypi/{normal(part.name)}@{part.version.replace('+', '%2B')}"
    return {"type": "library", "bom-ref": purl, "name": part.name, "version": part.version,
            "hashes": _hashes(part.sha256), "purl": purl}


def _hashes(digests: Sequence[str]) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest} for digest in digests]
