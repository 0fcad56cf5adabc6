"""The addresses of the stack's queues, from the package and from the environment."""

import json
from pathlib import Path

import pytest

from chalicelib import queue_addresses
from chalicelib.config import fleet
from chalicelib.infrastructure import queues

PREFIX = "https://sqs.eu-west-1.amazonaws.com/123456789012/f-prod-"


def declared(count: int) -> str:
    """A fleet.toml with so many queues, the first of which is FIFO."""
    return 'name = "f"\nregions = [{name = "eu-west-1"}]\ncoordination = {regions = ["eu-west-1"]}\n' + "".join(
        f'[[queues]]\nname = "q{number}"\nfifo = {str(not number).lower()}\n' for number in range(count))


def test_a_package_knows_the_addresses_that_cloudformation_gives_its_queues(tmp_path: Path) -> None:
    made = fleet.parse(declared(100))
    (tmp_path / queue_addresses.FILE).write_bytes(queue_addresses.build(queues.tails(made)))
    found = queue_addresses.urls({"LAMP_QUEUE_PREFIX": PREFIX}, tmp_path)
    parts = {id: part["Properties"]["QueueName"]["Fn::Sub"] for id, part in queues.of_fleet(made).items()
             if part["Type"] == "AWS::SQS::Queue"}
    ids = queues.every(made)
    assert {name: found[name] for name, id in ids.items() if id in parts} == {
        name: parts[id].replace("${AWS::StackName}-", PREFIX) for name, id in ids.items() if id in parts}
    assert found.keys() == ids.keys() and found["q0"] == f"{PREFIX}q0.fifo"


def test_a_sender_outside_of_the_stack_says_all_addresses_itself(tmp_path: Path) -> None:
    addresses = {"default": f"{PREFIX}default"}
    known = {"LAMP_QUEUES": json.dumps(addresses), "LAMP_QUEUE_PREFIX": "https://elsewhere/"}
    assert queue_addresses.urls(known, tmp_path) == addresses


@pytest.mark.parametrize("known", [{}, {"LAMP_QUEUES": "x"}, {"LAMP_QUEUES": "[]"}, {"LAMP_QUEUE_PREFIX": PREFIX}])
def test_unknown_addresses_are_told_with_their_remedy(known: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(queue_addresses.UnknownQueues, match="take the value from the stack's output Queues"):
        queue_addresses.urls(known, tmp_path)
