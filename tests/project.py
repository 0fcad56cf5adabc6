"""A copy of the project for tests that change it."""

import shutil
from pathlib import Path

from commands.deploy import packaging

_PARTS = ("app.py", "chalicelib", ".chalice", "requirements.txt", "fleet.toml", "cron", "tasks")


def copy(folder: Path, root: Path = packaging.ROOT) -> Path:
    """All that is packaged of `root`, below `folder`; the packages of requirements.txt that were fetched are shared."""
    project = folder / "project"
    project.mkdir()
    for name in _PARTS:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, project / name)
    wheels = packaging.ROOT / ".build" / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    (project / ".build").mkdir()
    (project / ".build" / "wheels").symlink_to(wheels)
    return project
