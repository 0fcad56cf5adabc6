"""The changes to ministack: each finds what it changes, and another ministack stops the start-up."""

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox import embedded_metrics, emulator_patches, item_keys, replication, triggers
from sandbox.compute.reconciler import Hypervisor
from sandbox.dns import EmbeddedTwin
from sandbox.faults import Faults

# Importing them registers their changes.
MODULES = [import_module(f"sandbox.{name}") for name in emulator_patches.MODULES]


def context(faults: Faults | None = None) -> emulator_patches.Context:
    """A run for changes that are tried alone."""
    found = faults or Faults()
    hypervisor = Hypervisor("mark", Path("/nowhere"), found)
    return emulator_patches.Context(
        found, "secret", "mark", "/runtime", EmbeddedTwin(0), hypervisor, triggers.Triggers("mark"))


@pytest.mark.slow
@pytest.mark.parametrize("change", emulator_patches.CHANGES, ids=lambda change: f"{change.module}.{change.symbol}")
def test_what_is_changed_is_there_as_expected_and_has_a_reason(change: emulator_patches.Change) -> None:
    module = pytest.importorskip(f"ministack.{change.module}")
    change._check(getattr(module, change.symbol))
    assert len(change.reason) > 20


@pytest.mark.parametrize(("symbol", "parameters", "says"), [
    ("gone", "", "has no gone"), ("parse_arn", "another parameter", "takes")])
def test_another_ministack_is_refused_by_name(symbol: str, parameters: str, says: str) -> None:
    change = emulator_patches.Change("core.arn", symbol, parameters, "a test", lambda original, context: original)
    with pytest.raises(emulator_patches.Moved, match=f"{says}.*ministack=={emulator_patches.VERSION}"):
        change.apply(context())


def test_a_change_that_was_not_made_is_noticed() -> None:
    change = emulator_patches.Change("core.arn", "parse_arn", "arn", "a test", lambda original, context: original)
    with pytest.raises(emulator_patches.Moved, match="was not replaced"):
        change.verify()


def test_a_stopped_region_fires_no_rule_and_runs_no_lambda() -> None:
    faults, ran = Faults(), []
    faults.stop("us-east-1")  # ministack's own default region, as no request is under way here
    triggers.spread(lambda *arguments: ran.append(arguments), context(faults))({}, {"DetailType": "mine"}, {})
    arn = "arn:aws:lambda:us-east-1:111122223333:function:f"
    answer = emulator_patches.executions(lambda *arguments: ran.append(arguments), context(faults))(
        {"config": {"FunctionArn": arn}}, {})
    assert ran == [] and answer["error"] is True


def test_a_stopped_region_polls_nothing() -> None:
    faults = Faults()
    faults.stop("b")
    living = emulator_patches.mappings(lambda: [("1", "a", {}), ("1", "b", {})], context(faults))
    assert list(living()) == [("1", "a", {})]


@pytest.mark.parametrize(("found", "action"), [
    ("sqs:SendMessageBatch", "sqs:SendMessage"), ("sqs:DeleteMessageBatch", "sqs:DeleteMessage"),
    ("sqs:ChangeMessageVisibilityBatch", "sqs:ChangeMessageVisibility"), ("sqs:SendMessage", "sqs:SendMessage"),
    ("dynamodb:BatchGetItem", "dynamodb:BatchGetItem"), (None, None)])
def test_sqs_authorizes_batches_as_single_calls(found: str | None, action: str | None) -> None:
    assert emulator_patches.actions(lambda *arguments: found, context())("", "", "", {}, b"", {}) == action


def test_stacks_of_one_name_make_different_roles_in_different_regions() -> None:
    from ministack.core.responses import request_scope

    name = emulator_patches.names(lambda stack, id, **how: f"{stack}-{id}-4B751E1303E7A", context())
    with request_scope("1", "eu-west-1"):
        one, again = name("s", "Role"), name("s", "Role")
    with request_scope("1", "us-east-1"):
        other = name("s", "Role")
    assert one == again != other and len(one) == len("s-Role-4B751E1303E7A")


def test_metrics_are_read_from_the_embedded_format() -> None:
    line = ('{"_aws": {"CloudWatchMetrics": [{"Namespace": "N", "Dimensions": [["d"], []], "Metrics": [{"Name": "M", '
            '"Unit": "Count"}]}]}, "d": "x", "M": [1, 2]}')
    found = list(embedded_metrics.embedded(f'START\n{line}\n{{"_aws": broken\n["_aws"]\nEND'))
    assert found == [("N", "M", 1.0, "Count", {"d": "x"}), ("N", "M", 2.0, "Count", {"d": "x"}),
                     ("N", "M", 1.0, "Count", {}), ("N", "M", 2.0, "Count", {})]


def test_an_older_copy_never_replaces_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from ministack.services import dynamodb

    table: dict[str, Any] = {"TableName": "t", "pk_name": "pk", "sk_name": None, "items": {}}
    kept: dict[str, Any] = {}
    fake = SimpleNamespace(get=lambda name: table)
    monkeypatch.setattr(dynamodb, "_tables", fake)
    monkeypatch.setattr(dynamodb, "_set_item", lambda table, pk, sk, item: kept.update({pk: item["v"]["S"]}))
    monkeypatch.setattr(replication, "_newest", {})
    for value, written in (("new", 2.0), ("old", 1.0), ("newer", 3.0)):
        item = {"pk": {"S": "a"}, "v": {"S": value}}
        replication._settle("1", "eu-west-1", "t", item, False, written)
        assert list(kept.values()) == ["new" if value != "newer" else "newer"]


@pytest.mark.parametrize(("asked", "keys"), [
    ({"Key": {"pk": {"S": "lock"}, "sk": {"S": "a"}}}, ["lock"]),
    ({"Item": {"pk": {"S": "run#a"}, "sk": {"S": "1"}, "body": {"S": "pk = :pk"}}}, ["run#a"]),
    ({"KeyConditionExpression": "pk = :of AND sk BETWEEN :a AND :b", "ExpressionAttributeValues": {
        ":of": {"S": "minutes"}, ":a": {"S": "0"}, ":b": {"S": "9"}}}, ["minutes"]),
    ({"RequestItems": {"t": {"Keys": [{"pk": {"S": "b"}}, {"pk": {"S": "a"}}, {"pk": {"S": "b"}}]}}}, ["a", "b"]),
    ({"FilterExpression": "#ttl < :now"}, [])])
def test_a_call_of_dynamodb_is_known_by_the_partition_keys_that_it_names(asked: Any, keys: list[str]) -> None:
    assert item_keys.leading_keys(json.dumps(asked).encode()) == keys
    context_of = item_keys.context_keys(lambda body: {"dynamodb:Select": "x"}, context())(json.dumps(asked).encode())
    assert context_of == {"dynamodb:Select": "x", **({"dynamodb:LeadingKeys": keys} if keys else {})}
