"""The state of the queues, with their depth, age and content."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.aws import client
from chalicelib.tasks.queues import QueueDirectory, Sqs
from chalicelib.tasks.state import QueueDepth, QueuedMessage, QueueSample, letter

# Messages are hidden while they are read, so that none is seen twice. A reader that dies hides them for no longer.
HIDDEN_SECONDS = 60
# All queues together; a redrive reads twice, and its Lambda has 30 seconds.
READING_SECONDS = 8
_PAGE = 10


def depths(sqs: Sqs, known: QueueDirectory, ages: Mapping[str, int]) -> list[QueueDepth]:
    """The depth of each queue, by SQS's own approximate counts."""
    return [_depth(name, sqs.attributes(url), ages.get(name), name in known.origins)
            for name, url in known.urls.items()]


def ages(region: str, urls: Mapping[str, str], now: int) -> dict[str, int]:
    """Seconds since the oldest message of each queue was sent, from CloudWatch, which has them minutes late, or not at
    all.

    Looking at the messages themselves would be exact, but would count as a try.
    """
    names = list(urls)
    queries = [_age_query(number, urls[name]) for number, name in enumerate(names)]
    until = datetime.fromtimestamp(now, UTC)
    pages = client.region_pages(
        region, client.client("cloudwatch", region), "get_metric_data", MetricDataQueries=queries,
        StartTime=until - timedelta(minutes=15), EndTime=until, ScanBy="TimestampDescending")
    found: dict[str, int] = {}
    for result in (result for page in pages for result in page["MetricDataResults"] if result["Values"]):
        # The newest value comes first, and a metric may go on over several pages.
        found.setdefault(names[int(result["Id"][1:])], int(result["Values"][0]))
    return found


@contextmanager
def held(sqs: Sqs, known: QueueDirectory, queue: str, most: int, until: float) -> Iterator[list[QueuedMessage]]:
    """Up to `most` messages of `queue`, hidden from others. Those still in the list at the end are put back.

    Reading stops at `until` (monotonic seconds).
    """
    letters: list[QueuedMessage] = []
    url, origin = known.url(queue), known.origins.get(queue, "")
    try:
        while len(letters) < most and time.monotonic() < until:
            found = sqs.receive(url, min(_PAGE, most - len(letters)), HIDDEN_SECONDS)
            letters += [letter(queue, raw, known.source(raw) or origin) for raw in found]
            if not found:
                break
        yield letters
    finally:
        sqs.change_visibility(url, {one.receipt: 0 for one in letters})


def look(sqs: Sqs, known: QueueDirectory, queues: Sequence[str], most: int, until: float) -> QueueSample:
    """Up to `most` messages of each of `queues`, oldest first. They stay where they are."""

    def one(queue: str) -> tuple[list[QueuedMessage], bool]:
        with held(sqs, known, queue, most, until) as letters:
            full = len(letters) >= most or time.monotonic() >= until
            return sorted(letters, key=lambda letter: (letter.sent, letter.id)), full

    # All at once: each takes a second of waiting for more before it is known that there is no more.
    with ThreadPoolExecutor(max(1, min(10, len(queues)))) as pool:
        found = list(pool.map(one, queues))
    cut = tuple(queue for queue, (_, full) in zip(queues, found, strict=True) if full)
    return QueueSample(tuple(letter for letters, _ in found for letter in letters), cut)


def deadline() -> float:
    """When reading that begins now must stop (monotonic seconds)."""
    return time.monotonic() + READING_SECONDS


def _depth(name: str, attributes: Mapping[str, str], age: int | None, dead: bool) -> QueueDepth:
    waiting, at_work, delayed = (
        int(attributes.get(f"ApproximateNumberOfMessages{which}", "0")) for which in ("", "NotVisible", "Delayed"))
    return QueueDepth(name, waiting, at_work, delayed, age if waiting + at_work + delayed else 0, dead)


def _age_query(number: int, url: str) -> dict[str, Any]:
    dimensions = [{"Name": "QueueName", "Value": url.rsplit("/", 1)[-1]}]
    metric = {"Namespace": "AWS/SQS", "MetricName": "ApproximateAgeOfOldestMessage", "Dimensions": dimensions}
    return {"Id": f"q{number}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}}
