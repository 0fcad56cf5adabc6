"""Runs one Python job, as `python -m chalicelib.crontab.run_python_job cron.reports:nightly`.

The function's printed text is the run's output. An exception, or `sys.exit` with a status other than 0, is a failed
run.
"""

import importlib
import sys


def main(arguments: list[str]) -> None:
    """Calls the function `<module>:<function>` that `arguments` name."""
    module, _, name = arguments[0].partition(":")
    getattr(importlib.import_module(module), name)()


if __name__ == "__main__":
    main(sys.argv[1:])
