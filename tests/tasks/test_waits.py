from chalicelib.tasks import deferrals
from tests.tasks.fakes import Memory


def test_deferrals_are_counted_per_message_and_forgotten_after_the_queue_has_forgotten() -> None:
    table = Memory()
    assert deferrals.count(table, "m1") == 0
    for _ in range(3):
        deferrals.add(table, "m1", now=1000)
    assert (deferrals.count(table, "m1"), deferrals.count(table, "m2")) == (3, 0)
    assert list(table.ttls.values()) == [1000 + 15 * 86_400]
