"""The concurrent executions that are reserved for the Lambdas that heal and start jobs. Pure.

Without a reservation they share what the account may run at a time with the jobs, which may use up all of it.
"""

from chalicelib import registry
from chalicelib.config.declared import Fleet
from chalicelib.engine.deployment import Schedule

# AWS takes no reservation that leaves less than this to all other functions of the account in the region
# (PutFunctionConcurrency, API reference).
UNRESERVED_AT_LEAST = 100


def reserved(fleet: Fleet) -> dict[str, int]:
    """Function -> its reservation in each region, if a rule of the fleet starts it. Empty if fleet.toml wants none."""
    if not fleet.reserved_concurrency:
        return {}
    return {each.function: each.reserved for each in registry.lambdas()
            if each.reserved and isinstance(each.trigger, Schedule) and has_section(fleet, each.trigger.section)}


def has_section(fleet: Fleet, section: str) -> bool:
    """Whether fleet.toml has the table `section`, such as `tunnels.hosts`. It has the empty one."""
    value: object = fleet
    for name in section.split("."):
        value = getattr(value, name) if name and value is not None else value
    return value is not None
