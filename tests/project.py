"""A copy of the project for tests that change it."""

import shutil
from pathlib import Path

from commands import roots

_PARTS = ("app.py", "chalicelib", "lamplighter", ".chalice", "requirements", "fleet.toml", "cron", "tasks")


def copy(folder: Path, root: Path = roots.PRODUCT) -> Path:
    """All that is packaged of `root`, below `folder`; the packages that were fetched are shared."""
    project = folder / "project"
    project.mkdir()
    for name in _PARTS:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, project / name)
    wheels = roots.PRODUCT / ".build" / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    (project / ".build").mkdir()
    (project / ".build" / "wheels").symlink_to(wheels)
    return project
