"""The package `lamplighter`: its stub says what is there, and a job does not pay for what it does not use."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import lamplighter
from chalicelib.crontab.job import Overlap

ROOT = Path(__file__).resolve().parents[2]
STUB = ast.parse((ROOT / "lamplighter" / "__init__.pyi").read_text())

# stubtest cannot see that msgspec writes `__init__`, nor that only `@task(...)` passes no function.
ALLOWED = ("lamplighter.Call.__init__", "lamplighter.Run.__init__", "lamplighter.task")


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own, with this repository in its path and nothing imported."""
    return subprocess.run([sys.executable, "-P", *words], capture_output=True, text=True, cwd="/",
                          env={"PYTHONPATH": str(ROOT), "AWS_DEFAULT_REGION": "eu-west-1"})


def fields_of_stub(name: str) -> list[str]:
    """The annotated names of a class of the stub."""
    body = next(node.body for node in STUB.body if isinstance(node, ast.ClassDef) and node.name == name)
    return [node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]


@pytest.mark.slow
def test_stub_and_runtime_agree(tmp_path: Path) -> None:
    (tmp_path / "allowed").write_text("\n".join(ALLOWED))
    done = python("-m", "mypy.stubtest", "lamplighter", "--allowlist", str(tmp_path / "allowed"))
    assert (done.returncode, done.stdout) == (0, "Success: no issues found in 2 modules\n")


@pytest.mark.parametrize("name", ["Call", "Run"])
def test_stub_of_a_struct_has_its_fields(name: str) -> None:
    assert fields_of_stub(name) == [field.name for field in msgspec.structs.fields(getattr(lamplighter, name))]


def test_stub_names_every_overlap() -> None:
    job = next(node for node in STUB.body if isinstance(node, ast.FunctionDef) and node.name == "job")
    overlap = next(argument for argument in job.args.kwonlyargs if argument.arg == "overlap")
    assert overlap.annotation is not None
    named = {node.value for node in ast.walk(overlap.annotation) if isinstance(node, ast.Constant)} - {None}
    assert named == set(get_args(Overlap))


@pytest.mark.parametrize("name", lamplighter.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(lamplighter, name)
    assert name == "__version__" or value.__doc__


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"'lamplighter' has no name 'jobs'\. There are Call, "):
        lamplighter.jobs  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("name", ["job", "task", "current", "Refused"])
def test_declaring_imports_no_aws_client(name: str) -> None:
    done = python("-c", f"from lamplighter import {name}; import sys; print('boto3' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")
