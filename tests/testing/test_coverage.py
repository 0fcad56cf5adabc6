"""The lines that a piece of work executes, in greenlets, too; what an import executes is no proof of anything."""

from testing.coverage import lines_executed

SCHEDULER = "simulation.scheduler"


def test_lines_are_those_of_functions_that_were_called_in_any_greenlet() -> None:
    from simulation.scheduler import Scheduler

    def work() -> None:
        scheduler = Scheduler(1, 0.0)
        scheduler.spawn(lambda: scheduler.wait(5), "here", lambda failure: None)
        scheduler.at(2, lambda: None)
        scheduler.run(10)

    nothing = lines_executed(lambda: None, [SCHEDULER])[SCHEDULER]
    assert nothing.share == 0 and nothing.missing
    found = lines_executed(work, [SCHEDULER])[SCHEDULER]
    assert 0.5 < found.share < 1 and set(found.missing) < set(nothing.missing)
    assert found.lines.isdisjoint(found.missing)
