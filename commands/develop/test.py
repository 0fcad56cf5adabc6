"""`lamp test`, all checks of CI."""

import sys
import tempfile
from typing import Annotated

import typer

from commands import roots
from commands.develop import check, groups, install_servers
from commands.errors import UsageError
from commands.processes import Children, keep_compiled_modules
from commands.terminal import write

# On two cores a third one works while the others wait for real servers. Without these it would only collect once more.
WORKERS, WORKERS_FAST = "3", "2"


def test(
    arguments: Annotated[list[str] | None, typer.Argument(help="For pytest. Then only the tests that they name "
                                                               "run.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Under a minute, with neither sandbox nor slow tests.")] = False,
) -> None:
    """All checks of CI. They are the checks of ./lamp check, then all tests, those of the sandbox included.

    As root on Debian or Ubuntu it installs the real servers that tests talk to (OpenSSH, MariaDB, HAProxy, dig).
    Elsewhere what is not there is skipped in so many words. pytest's closing line is the last on standard output.
    """
    if roots.installed():
        raise UsageError("the tests of Lamplighter come with its checkout. In your fleet, run pytest on your own tests")
    keep_compiled_modules()
    groups.need("check", "test")
    chosen = arguments or []
    if not (fast or chosen):
        groups.need("bench", "fuzz")
        install_servers.install()
    verdicts = [] if chosen else check.report(check.chosen())
    failed = [verdict.check for verdict in verdicts if not verdict.ok]
    with tempfile.TemporaryDirectory(prefix="lamp-test-") as folder, Children() as children:
        status, _ = children.run(pytest_words(chosen, fast), folder=folder)
    if failed:
        write(f"lamp: these checks failed, see above: {', '.join(failed)}", to_stderr=True)
    raise typer.Exit(status or bool(failed))


def pytest_words(chosen: list[str], fast: bool) -> list[str]:
    """The command line of pytest. `chosen` comes last, so that it may overrule the rest."""
    # Tests that share a world stay on one worker, in the order of tests/spreading.py.
    quick = ["-m", "not world and not slow", "--dist", "worksteal", "--hypothesis-profile=fast"]
    spread = quick if fast else ["--dist", "loadfile", "--no-loadscope-reorder"]
    return [sys.executable, "-m", "pytest", "-q", "-n", WORKERS_FAST if fast else WORKERS, *spread, *chosen]
