"""Each operation with each item that it reads, made unreadable in each way: it goes on with the rest, and tells.

The operations come from the registry. The items are those that they read in worlds that have all of them. A Lambda
with a read for which no world has an item fails here.
"""

from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import pytest

from chalicelib import registry
from chalicelib.engine.deployment import REGIONAL_TABLE, Lambda
from tests.unreadable import scenes_databases, scenes_health_checks, scenes_schedules, scenes_tunnels
from tests.unreadable.stage import (
    UNREADABLE,
    Run,
    Scene,
    Tools,
    alive,
    carry_out,
    far,
    judge,
    judge_half_way,
    wrong_types,
)

SCENES = (*scenes_schedules.SCENES, *scenes_databases.SCENES, *scenes_tunnels.SCENES, *scenes_health_checks.SCENES)
READS = ("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan")


@pytest.fixture(scope="module", autouse=True)
def _close() -> Iterator[None]:
    yield
    scenes_health_checks.close()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    return Tools(tmp_path, monkeypatch)


_UNDISTURBED: dict[str, Run] = {}


def undisturbed(scene: Scene, tools: Tools) -> Run:
    """A run in which all items are good. It finds something to read, and ends well."""
    if str(scene) not in _UNDISTURBED:
        run = carry_out(scene, tools)
        assert run.reads and list(alive(run)) == []
        assert not any("UnreadableItem" in subject for subject, _ in run.told), run.told
        _UNDISTURBED[str(scene)] = run
    return _UNDISTURBED[str(scene)]


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_operation_with_an_unreadable_item_goes_on_with_the_rest_and_names_it(scene: Scene, tools: Tools) -> None:
    good = undisturbed(scene, tools)
    found: dict[str, list[str]] = defaultdict(list)
    for key in good.reads:
        for kind, spoilt in UNREADABLE.items():
            bad = carry_out(scene, tools, lambda one, read, key=key, spoilt=spoilt:  # type: ignore[misc]
                            spoilt if (one, read) == (key, 1) else None)
            for harm in judge(scene, good, bad, key, kind):
                found[f"{' '.join(key)}: {harm}"].append(kind)
    assert not found, "\n".join(f"{harm} ({', '.join(kinds)})" for harm, kinds in found.items())


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_operation_whose_item_becomes_unreadable_half_way_does_nothing_else(scene: Scene, tools: Tools) -> None:
    good, found = undisturbed(scene, tools), []
    for key, times in good.reads.items():
        for number in range(2, times + 1):
            bad = carry_out(scene, tools, lambda one, read, key=key, number=number:  # type: ignore[misc]
                            wrong_types if (one, read) == (key, number) else None)
            found += [f"{' '.join(key)}, read {number}: {harm}" for harm in judge_half_way(scene, good, bad)]
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_operation_with_numbers_out_of_any_reason_or_strange_items_beside_its_own_does_not_fail(
    scene: Scene, tools: Tools
) -> None:
    good, found = undisturbed(scene, tools), []
    for key in good.reads:
        for sign in (1, -1):
            bad = carry_out(scene, tools, lambda one, read, key=key, sign=sign:  # type: ignore[misc]
                            partial(far, sign=sign) if (one, read) == (key, 1) else None)
            found += [f"{' '.join(key)}: {harm}" for harm in alive(bad)]
    for table, pk in sorted({(table, pk) for table, pk, _ in good.reads}):
        bad = carry_out(scene, tools, strays=(table, pk))
        found += [f"beside {table} {pk}: {harm}" for harm in alive(bad)]
        found += [f"beside {table} {pk}: {effect}" for effect in good.effects ^ bad.effects]
    assert not found, "\n".join(found)


def patterns(declared: Lambda) -> set[tuple[str, str]]:
    """The tables and partition keys that a Lambda may read."""
    return {("local" if permission.resource == REGIONAL_TABLE else "shared", key)
            for permission in declared.permissions if any(read in permission.actions.split() for read in READS)
            for key in permission.keys or ("*",)}


READERS = [each for each in registry.lambdas() if patterns(each)]


@pytest.mark.slow
@pytest.mark.parametrize("declared", READERS, ids=lambda each: each.name)
def test_each_read_of_each_lambda_is_tried_on_an_item(declared: Lambda, tools: Tools) -> None:
    reads = {key for scene in SCENES if scene.operation == declared.name for key in undisturbed(scene, tools).reads}
    missing = {(table, pattern) for table, pattern in patterns(declared)
               if not any(name == table and fnmatchcase(pk, pattern) for name, pk, _ in reads)}
    assert reads and not missing, f"no world of {declared.name} has an item under {missing}"


def test_the_matrix_has_what_the_registry_has() -> None:
    assert len(READERS) > 25 and {scene.operation for scene in SCENES} == {each.name for each in READERS}
