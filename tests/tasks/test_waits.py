from chalicelib.tasks import waits
from tests.tasks.fakes import Memory


def test_deferrals_are_counted_per_message_and_forgotten_after_the_queue_has_forgotten() -> None:
    table = Memory()
    assert waits.count(table, "m1") == 0
    for _ in range(3):
        waits.add(table, "m1", now=1000)
    assert (waits.count(table, "m1"), waits.count(table, "m2")) == (3, 0)
    assert list(table.ttls.values()) == [1000 + 15 * 86_400]
