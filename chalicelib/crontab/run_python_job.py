"""Runs one Python job: `python -m chalicelib.crontab.run_python_job cron.reports:nightly`.

What the function prints is the run's output; an exception, or `sys.exit` with a status other than 0, is a failed run.
"""

import importlib
import sys


def main(arguments: list[str]) -> None:
    """Calls the function `<module>:<function>` that `arguments` name."""
    module, _, name = arguments[0].partition(":")
    getattr(importlib.import_module(module), name)()


if __name__ == "__main__":
    main(sys.argv[1:])
