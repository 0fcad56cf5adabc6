"""No Lambda is without a test of its permissions.

Each of those tests also holds that the Lambda has found something under every key that it may read: `unfound`.
"""

from chalicelib import registry
from tests.world import (
    test_policies,
    test_policies_databases,
    test_policies_health_checks,
    test_policies_routing,
    test_policies_tunnels,
)
from tests.world.least_privilege import Exercise, functions

EXERCISES: dict[str, Exercise] = {
    **test_policies.EXERCISES, **test_policies_databases.EXERCISES, **test_policies_health_checks.EXERCISES,
    **test_policies_routing.EXERCISES, **test_policies_tunnels.EXERCISES,
    test_policies_tunnels.ROTATES: test_policies_tunnels.rotate}


def test_each_lambda_of_the_registry_is_exercised_within_its_permissions() -> None:
    assert EXERCISES.keys() == functions("") == {declared.function for declared in registry.lambdas()}
