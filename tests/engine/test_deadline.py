"""The end of a span of work, by a clock of one's own."""

from chalicelib.engine.deadline import Deadline


class Clock:
    """Seconds, as set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Invocation:
    """The context of a Lambda with ten seconds left."""

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


def test_deadline_runs_out_and_never_below_0() -> None:
    clock = Clock()
    deadline = Deadline(8, clock)
    assert (deadline.left(), deadline.share(0.25), deadline.at) == (8, 2, 108)
    clock.now = 105
    assert deadline.left() == 3
    clock.now = 200
    assert (deadline.left(), deadline.share(0.5)) == (0, 0)


def test_part_of_the_work_ends_no_later_than_the_whole() -> None:
    deadline = Deadline(8, Clock())
    assert (deadline.within(3).left(), deadline.within(30).left()) == (3, 8)


def test_deadline_of_a_lambda_leaves_its_reserve() -> None:
    assert Deadline.of_lambda(Invocation(), 4, Clock()).left() == 6
    assert Deadline.of_lambda(Invocation(), 40, Clock()).left() == 0
