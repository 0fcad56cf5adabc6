"""The names for the code in cron/ and tasks/, as in `from lamplighter import job, task, send`.

Each name is loaded when it is first used. A job that sends no task therefore does not wait for an AWS client. The types
and signatures stand in `__init__.pyi`. They change only in a release whose number says so (see CHANGELOG.md).
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

# Public name -> the module that defines it.
_SOURCES = {
    "Call": "chalicelib.tasks.client",
    "Refused": "chalicelib.tasks.execution",
    "Run": "chalicelib.tasks.execution",
    "SendError": "chalicelib.tasks.client",
    "TaskError": "chalicelib.tasks.registry",
    "current": "chalicelib.tasks.execution",
    "job": "chalicelib.crontab.decorator",
    "send": "chalicelib.tasks.client",
    "send_many": "chalicelib.tasks.client",
    "task": "chalicelib.tasks.registry",
}

__all__ = ["Call", "Refused", "Run", "SendError", "TaskError", "__version__", "current", "job", "send", "send_many",
           "task"]


def __getattr__(name: str) -> Any:
    """A public name, from the module that defines it. The module is imported the first time."""
    if name == "__version__":
        return _module("chalicelib.version").VERSION
    if name not in _SOURCES:
        raise AttributeError(f"module 'lamplighter' has no name {name!r}. There are {', '.join(__all__)}")
    value = globals()[name] = getattr(_module(_SOURCES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _module(name: str) -> Any:
    # In a checkout and in a Lambda `chalicelib` stands beside this package. The wheel keeps it one folder down, so that
    # it claims no other name in site-packages. Only `lamp` itself has that folder in its path.
    installed = Path(__file__).with_name("_product")
    if installed.is_dir() and importlib.util.find_spec("chalicelib") is None:
        sys.path.append(str(installed))
    return importlib.import_module(name)
