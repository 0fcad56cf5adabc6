"""CONTRIBUTING.md tells how to add an operation: the example is added to a copy of the product, and run there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMPORTED = "\nfrom chalicelib.schedules.observation import PausedObservation\n"
RUN = """
import tempfile
from pathlib import Path

from chalicelib import registry
from chalicelib.engine import run
from chalicelib.schedules import operations
from chalicelib.schedules.decide import resume_all
from chalicelib.schedules.observation import PausedObservation
from chalicelib.infrastructure import files
from tests.schedules.harness import Place, job

assert "policies/policy-schedules_resume_all.json" in files.files()
assert callable(registry.handler("schedules_resume_all"))
place = Place(Path(tempfile.mkdtemp()), [job("jobs/one"), job("jobs/two")])
here = place.sites["eu-west-1"]
for name in ("jobs/one", "jobs/two"):
    run.run(operations.PAUSE, here, {"job": name, "reason": "a test", "apply": True}, name)
planned = run.run(operations.RESUME_ALL, here, {}, "three")
assert [(act["kind"], act["target"]) for act in planned["plan"]["actions"]] == [
    ("resume", "jobs/one"), ("resume", "jobs/two")], planned
done = run.run(operations.RESUME_ALL, here, {"apply": True}, "four")
assert done["status"] == "done" and list(done["results"]) == ["jobs/one: resumed", "jobs/two: resumed"], done
assert run.run(operations.RESUME_ALL, here, {}, "five")["plan"]["notes"] == ("no job is paused",)
"""


def examples() -> list[str]:
    """The Python blocks of the section, in order."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    section = page.split("## Add an operation")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)


@pytest.mark.slow
def test_operation_added_as_contributing_tells_plans_and_acts(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "chalicelib", tmp_path / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "chalicelib" / "schedules"
    observed, read, decided, joined, declared, test = examples()
    joined += "\nALL += (RESUME_ALL,)\n"
    for name, text in (("observation.py", observed), ("observe.py", IMPORTED + read),
                       ("decide/__init__.py", IMPORTED + decided), ("operations.py", joined)):
        (folder / name).write_text((folder / name).read_text() + "\n\n" + text)
    lambdas = (folder / "lambdas.py").read_text()
    beside = '    Lambda("schedules.run",'
    assert lambdas.count(beside) == 1
    (folder / "lambdas.py").write_text(lambdas.replace(beside, declared + beside))
    program = RUN + test + "\ntest_resume_all_without_a_paused_job_says_so()\n"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1",
                   "AWS_DEFAULT_REGION": "eu-west-1"}
    done = subprocess.run([sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True,
                          cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
