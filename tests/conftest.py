"""What holds for every test."""

from collections.abc import Generator

import pytest
from hypothesis import settings

from chalicelib.engine import run as engine
from commands.processes import keep_compiled_modules, take_interrupts
from testing.policed_store import policed
from tests.spreading import spread

# Tests send SIGINT to what they start, also when the run itself was started in the background, where it is ignored.
take_interrupts()
keep_compiled_modules()

# These make assertions for tests: pytest is to say as much of them.
pytest.register_assert_rewrite("tests.fuzzing", "tests.world.least_privilege")

# A machine under load is slow, not wrong: no test has a limit of time, `./lamp bench` measures what was promised.
settings.register_profile("lamplighter", deadline=None, print_blob=True)
settings.register_profile("fast", settings.get_profile("lamplighter"), max_examples=25)
settings.load_profile("lamplighter")


@pytest.fixture(autouse=True)
def _within_its_permissions(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that a test runs through the engine may do what its Lambda may, and no more."""
    carry_out = engine._carry_out
    monkeypatch.setattr(
        engine, "_carry_out",
        lambda operation, context, request, witness: carry_out(
            operation, policed(context, operation.name), request, witness))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The order of a run on several workers."""
    if hasattr(config, "workerinput"):
        items[:] = spread(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed, with lone surrogates spelt out: pytest-xdist cannot carry them to the other process."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report
