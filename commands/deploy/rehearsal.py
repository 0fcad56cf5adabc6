"""The refusals of `lamp deploy` for a stage, asked for without deploying. It only reads."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chalicelib import registry
from chalicelib.config.declared import Fleet
from chalicelib.infrastructure import files, tables
from chalicelib.infrastructure.parts import Json
from chalicelib.infrastructure.template import merged
from commands.deploy import compatibility, coordination, left_behind, stacks
from commands.deploy.account import Target, spoken
from commands.deploy.packaging import Package
from commands.deploy.stacks import Stack
from commands.errors import UsageError

_AT_ONCE = 8


def wrong(target: Target, fleets: Mapping[str, Fleet]) -> tuple[list[str], list[str]]:
    """The lines of what a deployment of each stage would refuse, and of what it would tell, with the way out of each.

    A stage that nobody has deployed has neither.
    """
    refused: list[str] = []
    told: list[str] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for stage, declared in fleets.items():
            package = Package(declared, stage, Path(), "", _template(declared, stage),
                              tables.coordination(declared, stage), ())
            refused += _refused(target, package, pool)
            told += left_behind.told(left_behind.found(target, package, pool), ())
    return list(dict.fromkeys(refused)), list(dict.fromkeys(told))


def _refused(target: Target, package: Package, pool: ThreadPoolExecutor) -> Iterator[str]:
    try:
        table = coordination.place(target, package)
        if not stacks.exists(target, table):
            left_behind.refuse_table(target, package, pool)
    except UsageError as mistake:
        yield str(mistake)
    for region in package.fleet.regions:
        with spoken(region.name):
            before = stacks.template(target, Stack(region.name, package.stack))
        if before:
            yield from compatibility.mistakes(before, package.template, package.stack, region.name)


def _template(declared: Fleet, stage: str) -> Json:
    """The stack's template without Chalice's functions, none of which a deployment replaces."""
    static, functions = json.loads(files.files()["resources.json"]), [each.function for each in registry.lambdas()]
    whole = merged(static, declared, stage, functions)
    return {**whole, "Resources": {id: part for id, part in whole["Resources"].items() if "Type" in part}}
