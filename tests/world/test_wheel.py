"""The wheel in an empty virtual environment: a fleet of one's own, checked, typed, and deployed to the sandbox."""

import json
import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chalicelib.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.world, pytest.mark.slow]
_READY_SECONDS = 240


class Installed:
    """An environment that holds the wheel and what it needs, and nothing of this checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.home = folder / "home"
        self.home.mkdir()
        # pip's own settings stay, for a machine behind a proxy; nothing that finds this checkout does.
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("PYTHON", "VIRTUAL_ENV", "LAMP", "AWS_"))}

    def run(self, *words: str | Path, cwd: Path | None = None, status: int = 0) -> str:
        """What a program printed on standard output; its status must be `status`."""
        done = subprocess.run([str(word) for word in words], cwd=cwd or self.home, env=self.environment,
                              capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    def lamp(self, *words: str | Path, cwd: Path | None = None, status: int = 0) -> str:
        """What the installed command printed."""
        return self.run(self.folder / "venv" / "bin" / "lamp", *words, cwd=cwd, status=status)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of this checkout, built and installed from nothing."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    subprocess.run([sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    [wheel] = folder.glob("lamplighter-*.whl")
    venv.create(folder / "venv", with_pip=True)
    made = Installed(folder)
    made.run(made.python, *pip, "install", wheel)
    return made


@pytest.fixture(scope="module")
def fleet(installed: Installed) -> Path:
    """A fleet that `lamp init` has made."""
    installed.lamp("init", "acme")
    return installed.home / "acme"


def test_wheel_gives_one_name_and_the_command(installed: Installed) -> None:
    assert installed.lamp("--version").strip() == f"lamplighter {VERSION}"
    listed = installed.run(installed.python, "-c", "import importlib.metadata as m; print({str(f).split('/')[0] for f "
                           "in m.files('lamplighter')} - {'..'})")
    assert "'lamplighter'" in listed and "chalicelib" not in listed and "commands" not in listed


def test_new_fleet_passes_its_checks_and_its_jobs_are_told(installed: Installed, fleet: Path) -> None:
    verdicts = json.loads(installed.lamp("-C", fleet, "check", "--json"))
    assert all(verdict["ok"] for verdict in verdicts), verdicts
    assert {"fleet.toml", "cron/", "tasks/", "template"} <= {verdict["check"] for verdict in verdicts}
    rows = json.loads(installed.lamp("cron", "next", "cron/reports.py", "--json", cwd=fleet))
    assert len(rows) == 2 and all(row["fires_utc"] for row in rows)


def test_new_fleet_installs_what_it_was_made_with(installed: Installed, fleet: Path) -> None:
    installed.run(installed.python, "-m", "pip", "--quiet", "install", "-r", "requirements-dev.txt", cwd=fleet)
    assert installed.lamp("--version").strip() == f"lamplighter {VERSION}"


def test_fleet_of_a_checkout_is_installed_in_an_empty_environment(tmp_path: Path) -> None:
    clone, made = tmp_path / "clone", Installed(tmp_path)
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
    subprocess.run([sys.executable, "-P", "-m", "commands", "init", str(tmp_path / "acme")], check=True, cwd=tmp_path,
                   env={**made.environment, "PYTHONPATH": str(clone)}, capture_output=True)
    venv.create(tmp_path / "venv", with_pip=True)
    # What Lamplighter needs has a test of its own above, and takes a minute.
    made.run(made.python, "-m", "pip", "--quiet", "install", "--no-deps", "-r", "requirements-dev.txt",
             cwd=tmp_path / "acme")
    noted = made.run(made.python, "-c", "import importlib.metadata as m; "
                     "print(m.distribution('lamplighter').read_text('direct_url.json'))")
    assert json.loads(noted)["url"] == clone.as_uri()
    head = subprocess.run(["git", "-C", str(clone), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert json.loads(noted)["vcs_info"]["commit_id"] == head.stdout.strip()


def test_mistake_in_the_fleet_is_named_with_its_place(installed: Installed, fleet: Path) -> None:
    declared = (fleet / "fleet.toml").read_text()
    try:
        (fleet / "fleet.toml").write_text(declared.replace("[schedules]", "[scheduling]"))
        said = installed.lamp("cron", "lint", cwd=fleet, status=2)
    finally:
        (fleet / "fleet.toml").write_text(declared)
    assert "fleet.toml:" in said and "scheduling: no such key" in said and "./lamp" not in said


def test_users_code_is_typed(installed: Installed, fleet: Path) -> None:
    program = fleet / "tasks" / "typed.py"
    program.write_text("from lamplighter import job, send\n\nreveal_type(send('invoices.render', number=1))\n\n\n"
                       "@job('@daily', overlap='skipp')\ndef a() -> None: ...\n")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(installed.folder / "mypy"),
             "--python-executable", str(installed.python), "tasks/invoices.py", "tasks/typed.py"],
            cwd=fleet, env=installed.environment, capture_output=True, text=True)
    finally:
        program.unlink()
    told = done.stdout
    assert 'Revealed type is "str"' in told or 'Revealed type is "builtins.str"' in told, told
    assert 'Argument "overlap" to "job" has incompatible type' in told and "Found 1 error" in told, told


def test_users_code_runs_outside_of_lamp(installed: Installed, fleet: Path) -> None:
    program = "from tasks.invoices import render; print(render(7, 'Eve'))"
    said = installed.run(installed.python, "-c", program, cwd=fleet)
    assert said.startswith("Invoice 7 for Eve")


@contextmanager
def sandbox(installed: Installed, fleet: Path) -> Iterator[None]:
    """`lamp deploy --sandbox` in the fleet's folder, from its start until Ctrl-C."""
    log = installed.folder / "sandbox.log"
    with log.open("w") as output:
        process = subprocess.Popen([installed.folder / "venv" / "bin" / "lamp", "deploy", "--sandbox"], cwd=fleet,
                                   env=installed.environment, stdout=output, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while "until Ctrl-C" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130), log.read_text()


def test_own_fleet_is_deployed_to_the_sandbox_and_operated(installed: Installed, fleet: Path) -> None:
    with sandbox(installed, fleet):
        status = json.loads(installed.lamp("-C", fleet, "status", "--json"))
        assert {job["job"] for job in status["schedules"]["jobs"]} >= {"reports.lamps", "reports.nightly"}
        wanted = '{"job": "reports.nightly", "reason": "a test"}'
        installed.lamp("-C", fleet, "run", "schedules.pause", wanted, "--apply")
        told = installed.lamp("-C", fleet, "journal", "--json", "--operation", "schedules.pause")
        entries = json.loads(told)["entries"]
        assert [(entry["operation"], entry["version"]) for entry in entries] == [("schedules.pause", VERSION)]
    assert not (fleet / ".world" / "state.json").exists()
