"""The stacks of an installation in regions that fleet.toml no longer names.

Such a stack goes on with the fleet file in its own package. It starts jobs if its region was home, and takes over
otherwise. No region of today's fleet sees it, so every region of the partition is asked for it.
"""

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws.client import AWS_ERRORS, error_code
from chalicelib.config.declared import Fleet, partition
from commands.deploy import queues, stacks
from commands.deploy.account import Target, explain
from commands.deploy.packaging import Package
from commands.deploy.stacks import Stack
from commands.errors import UsageError

# The answers of a region that the account has not enabled, to keys that are good elsewhere ("Enable or disable AWS
# Regions in your account", account management reference guide; "Common Errors" of each service's API reference).
_NOT_ENABLED = frozenset({"AuthFailure", "InvalidClientTokenId", "OptInRequired", "UnrecognizedClientException"})
# "Troubleshoot access denied error messages" (IAM user guide). Such a policy binds all roles of the account, those of
# the Lambdas, too.
_DENIED_TO_ALL = "explicit deny in a service control policy"


class Found(msgspec.Struct, frozen=True):
    """The stacks in regions that fleet.toml does not have, and the reason of each region that could not be asked."""

    stacks: tuple[Stack, ...]
    unknown: dict[str, str]


def found(target: Target, package: Package, pool: ThreadPoolExecutor) -> Found:
    """The stacks of the installation that a deployment of `package` would leave as they are."""
    own = {region.name for region in package.fleet.regions}
    return _look(target, package.stack, package.fleet, own, pool)


def refuse_table(target: Target, package: Package, pool: ThreadPoolExecutor) -> None:
    """`UsageError` if the installation has its coordination table in regions that are all others than today's.

    It is one as well if a region cannot be asked. A second, empty table would lose all pauses and claims.
    """
    regions = package.fleet.coordination.regions
    there = _look(target, f"{package.stack}-coordination", package.fleet, regions, pool)
    for stack in there.stacks:
        raise UsageError(
            f"{stack} has the coordination table of this installation, with its pauses and claims, and [coordination] "
            f"of fleet.toml says {', '.join(regions)}. DynamoDB moves no table. Write the regions that were there "
            "again, or deploy with another --stage, or delete that stack first (docs/deploy.md)")
    if there.unknown:
        raise UsageError("\n".join([
            *_unknown(there),
            f"{package.stack}-coordination is not in {', '.join(regions)}, but it may be where nobody could look. A "
            "second table would begin without the pauses and claims, so nothing was changed. Deploy again, for the "
            "first time with credentials that may call cloudformation:DescribeStacks there"]))


def told(left: Found, gone: Collection[Stack]) -> Iterator[str]:
    """A line for each stack that stays and for each region that could not be asked, with what to do."""
    for stack in left.stacks:
        if stack not in gone:
            yield (f"{stack} still runs, and fleet.toml has no region {stack.region}. It goes on with the jobs and "
                   f"regions of its own package. Delete it with --remove-region {stack.region}, or put the region back "
                   "into fleet.toml")
    yield from _unknown(left)


def removable(target: Target, left: Found, wanted: Iterable[str], *, drop_messages: bool) -> list[Stack]:
    """The stacks of the regions in `wanted`. `UsageError` if one is not there, or has messages that would be lost."""
    known = {stack.region: stack for stack in left.stacks}
    for region in wanted:
        if region in left.unknown:
            raise UsageError(f"--remove-region {region}: {region} could not be asked: {left.unknown[region]}")
        if region not in known:
            raise UsageError(f"--remove-region {region}: no stack of this installation is left there. Only regions "
                             "that fleet.toml does not have are removed")
    chosen = [known[region] for region in wanted]
    lost = [] if drop_messages else [line for stack in chosen for line in queues.messages_of(target, stack)]
    if lost:
        raise UsageError("\n".join([*lost, queues.REMEDY]))
    return chosen


def _look(target: Target, name: str, fleet: Fleet, without: Collection[str], pool: ThreadPoolExecutor) -> Found:
    """The stacks `name` in all regions of the partition but `without`."""
    used = {*fleet.coordination.regions, *(region.name for region in fleet.regions)}
    asked = [Stack(region, name) for region in target.regions()
             if region not in without and partition(region) == partition(fleet.home)]
    answers = list(zip(asked, pool.map(lambda one: _is_there(target, one, used), asked), strict=True))
    return Found(tuple(stack for stack, answer in answers if answer is True),
                 {stack.region: answer for stack, answer in answers if isinstance(answer, str)})


def _is_there(target: Target, stack: Stack, used: Collection[str]) -> bool | str:
    """Whether the stack exists, or why nobody knows.

    It does not in a region that the account has not enabled. Nor does it in one that is closed to all of the account,
    unless the region is one of those in use.
    """
    try:
        return stacks.exists(target, stack)
    except AWS_ERRORS as error:
        if isinstance(error, ClientError) and (
                error_code(error) in _NOT_ENABLED or (_DENIED_TO_ALL in str(error) and stack.region not in used)):
            return False
        return explain(error, "")


def _unknown(left: Found) -> Iterator[str]:
    for region, reason in left.unknown.items():
        yield f"{region} could not be asked: {reason}. A stack of this installation may be there"
