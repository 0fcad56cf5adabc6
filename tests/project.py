"""A copy of the project for tests that change it."""

import shutil
from pathlib import Path

from commands import roots

_PARTS = ("app.py", "chalicelib", "lamplighter", ".chalice", "requirements", "fleet.toml", "runner-policy.json",
          "cron", "tasks")


def copy(folder: Path, root: Path = roots.PRODUCT, *, compiled: bool = True) -> Path:
    """All that is packaged of `root`, below `folder`. The packages that were fetched are shared.

    So are modules that were `compiled`. They are kept by their content.
    """
    project = folder / "project"
    project.mkdir()
    for name in _PARTS:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, project / name)
        else:
            shutil.copy(source, project / name)
    (project / ".build").mkdir()
    for name in ("wheels", "compiled") if compiled else ("wheels",):
        shared = roots.PRODUCT / ".build" / name
        shared.mkdir(parents=True, exist_ok=True)
        (project / ".build" / name).symlink_to(shared)
    return project
