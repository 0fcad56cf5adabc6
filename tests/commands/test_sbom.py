"""The bill of materials of a package, hashes of requirements, and what is known about the package's parts."""

import hashlib
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from pip_audit._format.json import JsonFormat
from pip_audit._service.interface import ResolvedDependency, SkippedDependency, VulnerabilityResult

from commands import cli, roots
from commands.deploy import archive, dependencies, packaging, sbom
from commands.deploy.dependencies import Fetched
from commands.develop import audit
from commands.errors import UsageError
from commands.processes import Children

pytestmark = pytest.mark.slow

HASH = "--hash=sha256:" + "0" * 64
PARTS = [Fetched("PyMySQL", "1.2.4", ("a" * 64,)), Fetched("x_y.z", "1+local", ("b" * 64, "c" * 64))]


def test_the_bill_in_the_zip_and_beside_it_are_valid_cyclonedx(package: packaging.Package) -> None:
    beside = sbom.beside(package.zip).read_text()
    with zipfile.ZipFile(package.zip) as packed:
        inside = packed.read(sbom.FILE).decode()
    for bill in (inside, beside):
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
        references = [one["bom-ref"] for one in json.loads(bill)["components"]]
        assert len(set(references)) == len(references)
    assert json.loads(inside)["components"] == json.loads(beside)["components"]
    assert json.loads(beside)["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": package.digest}]


def test_the_bill_has_each_part_of_the_zip_by_the_hash_that_the_lock_knows(package: packaging.Package) -> None:
    components = {one["name"].lower(): one for one in json.loads(sbom.beside(package.zip).read_text())["components"]}
    with zipfile.ZipFile(package.zip) as packed:
        installed = {tuple(match.groups()) for name in packed.namelist()
                     if (match := re.match(r"([^/]+)-([^-/]+)\.dist-info/", name))}
    assert len(installed) > 5
    for name, version in installed | {("chalice", components["chalice"]["version"])}:
        assert components[name.lower()]["version"] == version
    locks = "".join((roots.PRODUCT / "requirements" / f"{name}.txt").read_text() for name in ("lambda", "lamp"))
    for name, one in components.items():
        assert name == "lamplighter" or all(f"sha256:{hash['content']}" in locks for hash in one["hashes"]), name
        assert name == "lamplighter" or (one["hashes"] and one["purl"] == (
            f"pkg:pypi/{sbom.normal(one['name'])}@{one['version']}"))


def test_the_same_package_has_the_same_bill(package: packaging.Package, project: Path) -> None:
    again = packaging.build("prod", root=project, product=project)
    assert again.digest == package.digest
    assert sbom.document("f", "prod", PARTS) == sbom.document("f", "prod", PARTS)
    assert sbom.document("f", "prod", PARTS) != sbom.document("f", "prod", PARTS[:1])


def test_odd_names_and_versions_make_valid_purls() -> None:
    bill = sbom.document("f", "s", PARTS, "d" * 64).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    assert [one["purl"] for one in json.loads(bill)["components"]][1:] == [
        "pkg:pypi/pymysql@1.2.4", "pkg:pypi/x-y-z@1%2Blocal"]


@pytest.mark.parametrize(("text", "all_hashed"), [
    (f"a==1 {HASH}\n", True), (f"a==1 \\\n    {HASH} \\\n    {HASH}\n# b\n", True), ("a==1\n", False), ("", False),
    ("# nothing\n", False), (f"--index-url https://x\na==1 {HASH}\n", True), ("-r more.txt\n", True)])
def test_pip_takes_nothing_but_the_hashed_if_all_are(text: str, all_hashed: bool, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text(f"c==1 {HASH}\n")
    (tmp_path / "requirements.txt").write_text(text)
    assert dependencies.hashed(tmp_path / "requirements.txt") is all_hashed


def test_some_hashes_are_refused_with_the_lines_that_lack_one(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"# Mine.\na==1 {HASH}\nb==2\n")
    with pytest.raises(UsageError, match=r"requirements.txt:3: b==2\n.*have no hash(.|\n)*--generate-hashes"):
        dependencies.hashed(tmp_path / "requirements.txt")
    with pytest.raises(UsageError, match="b==2"):
        dependencies.site(tmp_path / "requirements.txt", dependencies.LAMBDA, tmp_path / "wheels")


def test_no_hashes_are_a_warning_with_the_remedy(tmp_path: Path) -> None:
    assert sbom.unhashed(tmp_path) == []
    (tmp_path / "requirements.txt").write_text("a==1\nb==2\n")
    [warning] = sbom.unhashed(tmp_path)
    assert warning.startswith("requirements.txt:1: a==1 has no hash (nor have 1 others)")
    assert "uv pip compile --generate-hashes" in warning


@pytest.mark.slow
def test_a_package_with_other_content_than_its_hash_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"msgspec==0.22.0 {HASH}\n")
    with pytest.raises(UsageError, match="pip could not fetch"):
        dependencies.site(tmp_path / "requirements.txt", dependencies.LAMBDA, tmp_path / "wheels")


@pytest.mark.parametrize(("name", "content", "says"), [
    ("../x.py", b"", r"cannot be zipped \(the entry '../x.py' would lie outside of the package. Rename"),
    ("tasks/a.py", b"def", r"cannot be zipped \(tasks/a.py:1:4: invalid syntax\)")])
def test_what_cannot_be_zipped_is_told_in_a_sentence(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with zipfile.ZipFile(tmp_path / "out" / "deployment.zip", "w") as made:
        made.writestr(zipfile.ZipInfo(name), content)
    with pytest.raises(UsageError, match=says):
        packaging._repack(tmp_path / "out", tmp_path, "x")
    with pytest.raises(SystemExit):
        archive.main([str(tmp_path / "out" / "deployment.zip"), str(tmp_path / "o.zip"), str(tmp_path / "cache")])


class Answering(Children):
    """pip-audit, which answers in its own format."""

    def __init__(self, answer: dict[Any, list[VulnerabilityResult]]) -> None:
        super().__init__()
        self.answer = JsonFormat(True, True).format(answer, [])

    def run(self, words: Sequence[str], *, capture: bool = False, folder: str = "") -> tuple[int, str]:
        Path(words[list(words).index("--output") + 1]).write_text(self.answer)
        return 0, ""


def flaw(*fixed: str) -> VulnerabilityResult:
    from packaging.version import Version

    return VulnerabilityResult("GHSA-1", "Bad.", [Version(one) for one in fixed], {"CVE-2026-1"})


def known(*names: str) -> dict[Any, list[VulnerabilityResult]]:
    from packaging.version import Version

    return {ResolvedDependency(name, Version("1.0")): [] for name in names}


def asked(answer: dict[Any, list[VulnerabilityResult]], root: Path) -> tuple[bool, list[str]]:
    return audit.vulnerabilities(Answering(answer), root)


def test_an_advisory_fails_the_check_and_names_the_version_to_take(project: Path) -> None:
    answer = known("a", "b", "c")
    for part, flaws in zip(answer, ([flaw("1.1", "2.0")], [flaw()], []), strict=True):
        answer[part] = flaws
    assert asked(answer, project) == (False, [
        "a 1.0: GHSA-1, CVE-2026-1: take 1.1 or 2.0", "b 1.0: GHSA-1, CVE-2026-1: no version without it is known"])
    assert asked(known("a"), project) == (True, [])


def test_a_private_part_is_told_and_a_service_that_knows_none_is_no_success(project: Path) -> None:
    private = {SkippedDependency("mine", "not found on PyPI"): list[VulnerabilityResult]()}
    assert asked(known("a") | private, project) == (True, ["mine: unknown: not found on PyPI"])
    with pytest.raises(UsageError, match=r"nothing is known about \d+ packages \(not found on PyPI\)"):
        asked(private, project)


@pytest.mark.slow
def test_without_a_network_the_check_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The real pip-audit, behind a proxy that is not there."""
    sbom.sites(project, project, dependencies.LAMBDA, project / ".build" / "wheels")
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path))
    with Children() as children, pytest.raises(UsageError, match=r"advisories of pypi.org cannot be read.*Try again"):
        audit.vulnerabilities(children, project)


def test_online_alone_asks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from commands.develop import check

    monkeypatch.setattr(check, "chosen", dict)
    monkeypatch.setattr(audit, "vulnerabilities", lambda children: (False, ["a 1.0: GHSA-1: take 2.0"]))
    assert cli.main(["check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert cli.main(["check", "--online", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["findings"] == ["a 1.0: GHSA-1: take 2.0"]


def test_a_bill_of_yesterday_goes_with_its_package(tmp_path: Path) -> None:
    import os

    for number in (1, 2):
        out = tmp_path / str(number)
        out.mkdir()
        with zipfile.ZipFile(out / "deployment.zip", "w") as made:
            made.writestr("fleet.toml", str(number))
        target, digest = packaging._repack(out, tmp_path, "x")
        assert hashlib.sha256(target.read_bytes()).hexdigest() == digest
        sbom.beside(target).write_bytes(b"{}")
        if number == 1:
            os.utime(target, (0, 0))
    assert sorted(tmp_path.glob("*.cdx.json")) == [sbom.beside(target)]
