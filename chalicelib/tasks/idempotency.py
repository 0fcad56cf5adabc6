"""Work with a key runs once, by Powertools' idempotency in the regional table.

Its records lie beside the store's items (`pk` = `once#<task>#<0..f>`, `sk` = the hashed key, `ttl`), in a layout of
their own. Sixteen partitions a task, as one takes only 1,000 writes a second.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from aws_lambda_powertools.utilities.idempotency.base import IdempotencyHandler
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyInconsistentStateError,
    IdempotencyPersistenceLayerError,
)

from chalicelib.aws.client import BotoCoreError, ClientError
from chalicelib.engine.schema import ItemKey, Unreadable
from chalicelib.tasks.registry import Task

# The same key is at work elsewhere, or was until a moment ago.
InProgress = (IdempotencyAlreadyInProgressError, IdempotencyInconsistentStateError)
# The table did not answer; the work may have been done.
StoreFailed = IdempotencyPersistenceLayerError


class UnreadableKey(Exception):
    """The record of a key cannot be read. Whether the work is done, or under way, is not known."""

    def __init__(self, item: Unreadable) -> None:
        super().__init__(str(item))
        self.item = item


class Claim:
    """A key that is this worker's, until the work with it has ended. Both ends raise `StoreFailed`."""

    def __init__(self, layer: DynamoDBPersistenceLayer, key: str) -> None:
        self._layer, self._key = layer, key

    def done(self) -> None:
        """The work is done. No other message with the key runs."""
        with _answering("update record state to success in"):
            self._layer.save_success(data=self._key, result=None)  # type: ignore[arg-type]

    def free(self) -> None:
        """The work is not done. Another message with the key may do it."""
        with _answering("delete record from"):
            self._layer.delete_record(data=self._key, exception=RuntimeError())  # type: ignore[arg-type]


@contextmanager
def _answering(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise StoreFailed(f"Failed to {what} idempotency store", error) from error


class _Claiming(IdempotencyHandler):
    """Powertools' protocol up to the call, which is somebody else's to make."""

    def _get_function_response(self) -> Claim:
        return Claim(self.persistence_store, self.data)  # type: ignore[arg-type]


class IdempotentRunner:
    """Runs a call unless one with the same key has succeeded within the task's span `remember`."""

    def __init__(self, table: str, client: Any) -> None:
        self._table = table
        self._client = client
        self._prepared = cache(self._prepare)

    def __call__(self, task: Task, key: str, call: Callable[[], None], context: Any) -> bool:
        """Whether `call` was made now. `InProgress` if the same key is at work elsewhere at this moment.

        `StoreFailed` if the table does not answer, `UnreadableKey` if the record in it is not Powertools'.
        """
        made = False

        def work() -> None:
            nonlocal made
            made = True
            call()

        part = _part(key)
        config, _, once = self._prepared(task.name, part, task.remember)
        config.register_lambda_context(context)
        try:
            once(key=key, work=work)
        except InProgress:
            raise
        except Exception as error:
            # Before the call, everything but an answer of AWS comes from the record that was found.
            if made or isinstance(error.__cause__, ClientError | BotoCoreError):
                raise
            raise UnreadableKey(self._unreadable(task.name, part, key, error)) from error
        return made

    def claim(self, task: Task, key: str, context: Any) -> Claim | None:
        """The key, for work that goes on elsewhere. `None` if the work is done already. Raises as a call does."""
        part = _part(key)
        config, layer, _ = self._prepared(task.name, part, task.remember)
        config.register_lambda_context(context)
        claiming = _Claiming(_call, key, config, layer, key_prefix=task.name)
        try:
            found = claiming.handle()
        except InProgress:
            raise
        except Exception as error:
            if isinstance(error.__cause__, ClientError | BotoCoreError):
                raise
            raise UnreadableKey(self._unreadable(task.name, part, key, error)) from error
        return found if isinstance(found, Claim) else None

    def _unreadable(self, name: str, part: str, key: str, error: Exception) -> Unreadable:
        # The sort key as Powertools makes it: a prefix, and the hash of the key as JSON.
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        cause = error.__cause__ or error
        return Unreadable(ItemKey(self._table, f"once#{name}#{part}", f"{name}#{digest}"),
                          f"it is no record of a key: {type(cause).__name__}: {cause}")

    def _prepare(
        self, name: str, part: str, remember: int
    ) -> tuple[IdempotencyConfig, DynamoDBPersistenceLayer, Callable[..., None]]:
        layer = DynamoDBPersistenceLayer(
            table_name=self._table, key_attr="pk", static_pk_value=f"once#{name}#{part}", sort_key_attr="sk",
            expiry_attr="ttl", boto3_client=self._client)
        config = IdempotencyConfig(expires_after_seconds=remember, hash_function="sha256")
        decorated = idempotent_function(
            data_keyword_argument="key", persistence_store=layer, config=config, key_prefix=name)(_call)
        return config, layer, decorated


def _part(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[0]


def _call(*, key: str, work: Callable[[], None]) -> None:
    work()
