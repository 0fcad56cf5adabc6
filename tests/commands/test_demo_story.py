"""How a part of the demo ends: by itself, refused, or broken."""

from types import SimpleNamespace
from typing import Any

import pytest

from commands.demo.part import Part, patient
from testing.eventually import SECONDS


class Told(Part):
    """A part that raises `error`, if any."""

    def __init__(self, error: BaseException | None = None, world: Any = None) -> None:
        super().__init__(world, SimpleNamespace(stack="demo"), "it begins")  # type: ignore[arg-type]
        self.raised = error

    def _run(self) -> None:
        if self.raised:
            raise self.raised


def ended(error: BaseException | None = None) -> Told:
    part = Told(error)
    part.start()
    assert part.over.wait(SECONDS)
    return part


def test_what_was_refused_is_a_failure_of_the_report_and_not_the_demos_end() -> None:
    part = ended(RuntimeError("routing.apply: refused"))
    part.section()
    assert part.failures == ["routing.apply: refused"]


def test_what_broke_is_raised_where_the_end_is_asked_for() -> None:
    part = ended(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        part.section()


def test_what_ends_by_itself_has_no_failure() -> None:
    part = ended()
    part.section()
    assert part.failures == []


def test_what_watches_beside_a_part_does_not_end_unseen() -> None:
    part = Told()

    def _watch() -> None:
        raise OSError("the table is gone")

    part.beside(_watch).join()
    assert part.failures == ["watch ended: OSError: the table is gone"]


@pytest.mark.parametrize(("answers", "seconds", "wanted"), [([True], 0.0, True), ([False], 0.0, False),
                                                            ([False, False, True], 30.0, True)])
def test_patience(answers: list[bool], seconds: float, wanted: bool) -> None:
    assert patient(lambda: answers.pop(0), seconds, look=0.0) is wanted
    assert answers == []
