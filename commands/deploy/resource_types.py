"""The types of the stacks' resources, with the properties that cannot change and the calls behind them.

resource_types.json holds the part of CloudFormation's own resource type schemas that a deployment needs.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec


class ResourceType(msgspec.Struct, frozen=True):
    """One type. `name` is the property with its custom name, empty for none.

    A change of a `create_only` property replaces the resource. `actions` are the IAM actions of its handlers.
    """

    name: str
    create_only: tuple[str, ...]
    actions: tuple[str, ...]


class ResourceTypes(msgspec.Struct, frozen=True):
    """All types, and the actions that IAM allows on no single resource."""

    types: Mapping[str, ResourceType]
    without_resource: frozenset[str]


@cache
def known() -> ResourceTypes:
    """The content of resource_types.json."""
    return msgspec.json.decode(Path(__file__).with_suffix(".json").read_bytes(), type=ResourceTypes)
