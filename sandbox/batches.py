"""The fate of an SQS batch after the Lambda's answer, as in AWS.

From "Handling errors for an SQS event source in Lambda". With ReportBatchItemFailures, an answer that is no JSON
object, or names an empty or unknown item, fails the whole batch. An empty answer, or an empty or null list, is full
success. ministack deletes the messages in all these cases.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

from sandbox import recursion
from sandbox.emulator_patches import Context, change


def failed_items(answer: object, ids: Sequence[str]) -> set[str]:
    """The items of `ids` that come back for this answer of a Lambda, which are the named ones, none, or all."""
    if isinstance(answer, str):
        try:
            answer = json.loads(answer) if answer else None
        except json.JSONDecodeError:
            return set(ids)
    if answer is None or answer == {}:
        return set()
    if not isinstance(answer, dict):
        return set(ids)
    failures = answer.get("batchItemFailures")
    if failures is None:
        return set()
    if not isinstance(failures, list):
        return set(ids)
    named = [failure.get("itemIdentifier") if isinstance(failure, dict) else None for failure in failures]
    return {str(name) for name in named} if all(name in ids for name in named) else set(ids)


@change("services.lambda_svc", "_run_sqs_batch", "esm func_rec event batch queue_url queue_name",
        "a malformed batch response returns the batch instead of deleting it")
def run_batch(original: Any, context: Context) -> Any:
    from ministack.services import lambda_svc, sqs

    def run(esm: Any, func_rec: Any, event: Any, batch: Any, queue_url: str, queue_name: str) -> None:
        ids = [message["id"] for message in batch]
        if recursion.stopped(esm["FunctionName"], func_rec, batch):
            result: Any = {"error": True}
        else:
            result = lambda_svc._execute_function(func_rec, event)
        if result.get("error"):
            # The messages stay hidden for their visibility timeout, as on AWS; the poller rests a moment.
            lambda_svc._esm_backoff_until[esm["UUID"]] = time.time() + lambda_svc._ESM_BACKOFF_SECONDS
            back = set(ids)
        elif "ReportBatchItemFailures" in esm.get("FunctionResponseTypes", ()):
            back = failed_items(result.get("body"), ids)
        else:
            back = set()
        done = {message["receipt_handle"] for message in batch if message["id"] not in back}
        if done:
            sqs._delete_messages_for_esm(queue_url, done)
        esm["LastProcessingResult"] = f"OK: {len(done)} done, {len(back)} back"

    return run
