"""The judgement of cfn-lint, which takes seconds to import, so only the tests that ask for it do that."""

import json
from collections.abc import Sequence
from typing import Any


def findings(template: dict[str, Any], regions: Sequence[str]) -> list[str]:
    """All that cfn-lint finds wrong with `template` in `regions`, with its rule and its place."""
    import cfnlint.api

    found = cfnlint.api.lint(json.dumps(template), regions=list(regions))
    return [f"{match.rule.id} {match.path}: {match.message}" for match in found]


def registered(kind: str) -> dict[str, Any]:
    """The properties of a type of resource in CloudFormation's registry."""
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

    found: dict[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema["properties"]
    return found
