"""How a part of the demo ends: by itself, refused, or broken."""

from types import SimpleNamespace
from typing import Any

import pytest

from commands.demo.part import Part, Section, patient
from sandbox.crowd import Outage
from sandbox.world import WorldError


class Told(Part):
    """A part that raises `error`, if any."""

    def __init__(self, error: BaseException | None = None, lost: BaseException | None = None) -> None:
        declared: Any = SimpleNamespace(name="acme", regions=[], home="eu")
        super().__init__(SimpleNamespace(client=None), declared, Outage("eu"))  # type: ignore[arg-type]
        self.raised, self.lost = error, lost

    def _run(self) -> None:
        if self.raised:
            raise self.raised

    def _section(self) -> Section:
        if self.lost:
            raise self.lost
        return Section("told", None, [], None, self.failures)


def ended(error: BaseException | None = None, lost: BaseException | None = None) -> list[str]:
    """The failures of a part that ends so."""
    part = Told(error, lost)
    part.start(SimpleNamespace(fleet=part.fleet))  # type: ignore[arg-type]
    failures = part.section().failures
    assert part.over
    return failures


def test_what_was_refused_is_a_failure_of_the_report_and_not_the_demos_end() -> None:
    assert ended(RuntimeError("routing.apply: refused")) == ["routing.apply: refused"]


def test_what_broke_is_a_failure_that_names_where() -> None:
    assert ended(ValueError("broken")) == ["Told._run broke: ValueError: broken"]


def test_what_ends_by_itself_has_no_failure() -> None:
    assert ended() == []


def test_what_cannot_be_read_at_the_end_is_a_failure_beside_the_others() -> None:
    assert ended(RuntimeError("refused"), WorldError("no answer")) == [
        "refused", "what became of it could not be read: no answer"]


def test_what_is_not_done_in_time_is_told() -> None:
    with pytest.raises(RuntimeError, match="not every user has moved after 0 s"):
        Told().wait(lambda: False, "not every user has moved", 0.0)


def test_what_watches_beside_a_part_does_not_end_unseen() -> None:
    part = Told()

    def _watch() -> None:
        raise OSError("the table is gone")

    part.beside(_watch).join()
    assert part.failures == [f"{_watch.__qualname__} broke: OSError: the table is gone"]


@pytest.mark.parametrize(("answers", "seconds", "wanted"), [([True], 0.0, True), ([False], 0.0, False),
                                                            ([False, False, True], 30.0, True)])
def test_patience(answers: list[bool], seconds: float, wanted: bool) -> None:
    assert patient(lambda: answers.pop(0), seconds, look=0.0) is wanted
    assert answers == []
