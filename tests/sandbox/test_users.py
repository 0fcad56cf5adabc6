"""What a user gets, however late its requests end."""

import msgspec
import pytest

from sandbox.users import Errand, Moment, User


@pytest.mark.parametrize(("outcomes", "told"), [
    ([(1.0, "eu"), (1.1, "eu"), (1.2, "us")], [(1.0, "eu", 1, 0), (1.2, "us", 3, 0)]),
    # A request to a region that hangs is given up after those to the next region have been answered.
    ([(1.0, "eu"), (1.2, "us"), (1.1, ""), (1.3, "us")], [(1.0, "eu", 1, 0), (1.2, "us", 2, 0)]),
    ([(1.0, "eu"), (1.1, ""), (1.3, "us"), (1.2, "")], [(1.0, "eu", 1, 0), (1.1, "", 2, 1), (1.3, "us", 3, 1)])])
def test_the_request_that_was_sent_last_says_what_a_user_gets(
    outcomes: list[tuple[float, str]], told: list[tuple[float, str, int, int]], capsys: pytest.CaptureFixture[str],
) -> None:
    user = User("SE", "198.18.0.0/24", Errand(53, "www.example.com", 80, {}))
    for at, region in outcomes:
        user._hear(at, region, "" if region else "TimeoutError")
    user.end()
    *before, last = [msgspec.json.decode(line, type=Moment) for line in capsys.readouterr().out.splitlines()]
    assert [(one.at, one.region, one.sent, one.failed) for one in before] == told
    assert (last.region, last.sent, last.failed) == ("us", len(outcomes), sum(not region for _, region in outcomes))
