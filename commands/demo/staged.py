"""The fleet as the demo deploys it: the user's own files, and beside them a job and two tasks of the demo's own.

A fleet whose jobs run at night, or that has none, would have nothing to show in the demo's minutes.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from chalicelib.config.declared import Fleet
from commands import roots

STAGE, QUEUE, TASKS = "demo", "lamplighter-demo", "lamplighter_demo"
_DECLARED = f'\n[[stages.{STAGE}.queues]]\nname = "{QUEUE}"\ntimeout = "2m"\n'
_CRONTAB = f"cron/cron.d/{QUEUE}-job"
_FILES = Path(__file__).with_name("files")


@contextmanager
def staged(declared: Fleet, more: str) -> Iterator[Path]:
    """A folder with the fleet `declared`, for as long as the block runs. `more` is put below its fleet.toml."""
    fleet = roots.fleet()
    with TemporaryDirectory(prefix="lamp-demo-fleet-") as made:
        folder = Path(made)
        (fleet / ".build").mkdir(exist_ok=True)
        for name in (".build", "requirements.txt"):
            if (fleet / name).exists():
                (folder / name).symlink_to(fleet / name)
        for file in declared.files.values():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(fleet / file, folder / file)
        for name in ("cron", "tasks"):
            if (fleet / name).is_dir():
                shutil.copytree(fleet / name, folder / name, symlinks=True)
        for source, target in (("crontab", _CRONTAB), ("tasks.py", f"tasks/{TASKS}.py")):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(_FILES / source, folder / target)
        (folder / "fleet.toml").write_text((fleet / "fleet.toml").read_text() + more + _DECLARED)
        yield folder
