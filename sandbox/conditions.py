"""Conditions of templates that ask for the region or the account.

The emulator takes `{"Ref": "AWS::Region"}` in a condition for its own name, so that a template made for several regions
is the same in all of them. Every module that evaluates conditions has its own name for the function.
"""

from typing import Any

from sandbox.emulator_patches import Build, Context, change

_WHERE = ("engine", "stacks", "changesets", "handlers")
_REASON = "a condition may ask for the region, the account and the partition"


def _build(original: Any, context: Context) -> Any:
    from ministack.core.responses import get_account_id, get_region

    def evaluate(template: dict[str, Any], params: dict[str, Any]) -> Any:
        known = {"AWS::Region": get_region(), "AWS::AccountId": get_account_id(), "AWS::Partition": "aws",
                 "AWS::URLSuffix": "amazonaws.com"}
        return original(template, {name: {"Value": value} for name, value in known.items()} | params)

    return evaluate


def _register(build: Build) -> None:
    for module in _WHERE:
        change(f"services.cloudformation.{module}", "_evaluate_conditions", "template params", _REASON)(build)


_register(_build)
