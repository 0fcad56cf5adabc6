"""The account's quota of concurrent Lambdas, before a deployment reserves a part of it."""

from collections.abc import Iterator

from botocore.exceptions import ClientError

from chalicelib.infrastructure.concurrency import UNRESERVED_AT_LEAST, reserved
from commands.deploy.account import Target, spoken
from commands.deploy.packaging import Package

# Of "Concurrent executions" in Service Quotas.
_QUOTA = "L-B99A9384"


def short_of(target: Target, package: Package, region: str) -> Iterator[str]:
    """A sentence if the reservations of `package` would leave too little for the account's other functions."""
    wanted = reserved(package.fleet)
    if not wanted:
        return
    with spoken(region):
        limit = target.client("lambda", region).get_account_settings()["AccountLimit"]
        quota, free = int(limit["ConcurrentExecutions"]), int(limit["UnreservedConcurrentExecutions"])
        if free - sum(wanted.values()) >= UNRESERVED_AT_LEAST:
            return
        # A part of what is reserved may be these functions' own, from an earlier deployment.
        free += sum(_of(target, region, f"{package.stack}-{function}") for function in wanted)
    own = sum(wanted.values())
    missing = own + UNRESERVED_AT_LEAST - free
    if missing > 0:
        yield (f"{region}: this account may run {quota:,} Lambdas at a time, of which others have left {free:,}, but "
               f"{own} are to be reserved here and AWS wants {UNRESERVED_AT_LEAST} to remain. Raise the "
               f"quota to {quota + missing:,} (aws service-quotas request-service-quota-increase --service-code lambda "
               f"--quota-code {_QUOTA} --desired-value {quota + missing} --region {region}), or set "
               "reserved_concurrency = false at the top of fleet.toml")


def _of(target: Target, region: str, function: str) -> int:
    """The reservation of a function, 0 for none."""
    try:
        found = target.client("lambda", region).get_function_concurrency(FunctionName=function)
    except ClientError as error:
        # The first deployment makes it.
        if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
            return 0
        raise
    return int(found.get("ReservedConcurrentExecutions", 0))
