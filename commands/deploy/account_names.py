"""The things that fleet.toml names in the AWS account, looked up there. It only reads.

A name that is not there, or is another thing than fleet.toml takes it for, would be found by the first run that needs
it. Each becomes one line with the key, the region and the remedy. A name that AWS does not let us look up is a line,
too, because nothing is known of it.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from chalicelib.aws.client import AWS_ERRORS, error_code, pages
from chalicelib.config.declared import Ecs, Endpoint, Fleet, Network, Region, Ssm
from chalicelib.config.tunnel_hosts import HostRegion
from chalicelib.config.tunnels import Tunnels
from commands.deploy import account
from commands.deploy.account import Target

# AWS limits how often one account may ask; so few at a time stay far below.
_AT_ONCE = 8
# An alias to a load balancer may begin so (Route 53 developer guide, "Values specific for simple alias records").
_DUALSTACK = "dualstack."

# Looks a thing up with a client of its region. Yields what is wrong, with the remedy.
Lookup = Callable[[Callable[[str], Any]], Iterator[str]]


class Named(NamedTuple):
    """A thing that fleet.toml names: the key, the region where it is, and the way to look it up."""

    key: str
    region: str
    look_up: Lookup


def wrong(target: Target, fleets: Sequence[Fleet]) -> list[str]:
    """A line for each name of the fleets, one for each stage, that the account has not as fleet.toml takes it.

    `UsageError` if there are no credentials, or none that AWS knows.
    """
    if not fleets:
        return []
    owner = account.number(target, fleets[0].home)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(partial(_look, target), [one for fleet in fleets for one in named(fleet, owner)])
        return list(dict.fromkeys(line for lines in found for line in lines))


def named(fleet: Fleet, owner: str) -> Iterator[Named]:
    """All that `fleet` names in the account `owner`, in the order of the file."""
    for region in fleet.regions:
        at = f"regions.{region.name}"
        if region.endpoint:
            yield from _endpoint(f"{at}.endpoint", region.name, region.endpoint, owner)
        for key, network in (("network", region.network), ("ecs", region.ecs)):
            if network:
                yield Named(f"{at}.{key}", region.name, partial(_network, network))
        for group in fleet.health_checks.target_groups if fleet.health_checks else ():
            yield Named("health_checks.target_groups", region.name, partial(_target_group, group))
        yield from _schedules(fleet, region)
        yield from _tunnels(fleet.tunnels, region.name)
        yield from _databases(fleet, region.name)
    if fleet.routing:
        yield Named("routing.zone", fleet.home, partial(_zone, fleet.routing.zone, fleet.routing.hostname))


def _endpoint(key: str, region: str, endpoint: Endpoint, owner: str) -> Iterator[Named]:
    if endpoint.load_balancer:
        yield Named(f"{key}.load_balancer", region, partial(_balancer, endpoint.load_balancer, endpoint.zone or ""))
    if endpoint.bucket:
        yield Named(f"{key}.bucket", region, partial(_bucket, endpoint.bucket, region, owner))


def _schedules(fleet: Fleet, region: Region) -> Iterator[Named]:
    schedules = fleet.schedules
    if schedules.ecs:
        yield Named("schedules.ecs.cluster", region.name, partial(_cluster, schedules.ecs.cluster))
        yield Named("schedules.ecs.task_definition", region.name, partial(_task_definition, schedules.ecs))
    if schedules.ssm:
        yield Named("schedules.ssm", region.name, partial(_online, schedules.ssm))


def _tunnels(tunnels: Tunnels | None, region: str) -> Iterator[Named]:
    if tunnels is None or not tunnels.needs_tunnels(region):
        return
    if tunnels.group:
        yield Named("tunnels.group", region, partial(_group, tunnels.group))
    if tunnels.tag:
        yield Named("tunnels.tag", region, partial(_tagged, tunnels.tag))
    if tunnels.target_group:
        yield Named("tunnels.target_group", region, partial(_target_group, tunnels.target_group))
    if tunnels.document:
        yield Named("tunnels.document", region, partial(_document, tunnels.document))
    place = tunnels.hosts.place(region) if tunnels.hosts else None
    if place:
        yield Named(f"tunnels.hosts.regions.{region}", region, partial(_hosts, place))


def _databases(fleet: Fleet, region: str) -> Iterator[Named]:
    databases = fleet.databases
    for key in ("secret", "admin_secret") if databases and databases.server(region) else ():
        if name := getattr(databases, key):
            yield Named(f"databases.{key}", region, partial(_secret, name))


def _look(target: Target, one: Named) -> list[str]:
    place = f"{one.region}: {one.key}"
    try:
        return [f"{place}: {what}" for what in one.look_up(lambda service: target.client(service, one.region))]
    except AWS_ERRORS as error:
        return [f"{place}: nothing is known of it: {account.explain(error, '')}"]


# One function for each kind of thing.


def _zone(zone: str, hostname: str, client: Callable[[str], Any]) -> Iterator[str]:
    try:
        name = client("route53").get_hosted_zone(Id=zone)["HostedZone"]["Name"].rstrip(".")
    except ClientError as error:
        if error_code(error) not in ("NoSuchHostedZone", "InvalidInput"):
            raise
        yield f"this account has no hosted zone {zone}. Create it, or write the id of another one"
        return
    if f".{hostname}".endswith(f".{name}"):
        return
    yield f"{zone} is the zone of {name}, in which {hostname} does not lie. Write the id of its own zone"


def _balancer(name: str, zone: str, client: Callable[[str], Any]) -> Iterator[str]:
    wanted = name.lower().removeprefix(_DUALSTACK)
    known = {one["DNSName"].lower(): one["CanonicalHostedZoneId"]
             for page in pages(client("elbv2"), "describe_load_balancers") for one in page["LoadBalancers"]}
    if wanted not in known:
        # The classic ones are another service's.
        known |= {one["DNSName"].lower(): one.get("CanonicalHostedZoneNameID", "")
                  for page in pages(client("elb"), "describe_load_balancers")
                  for one in page.get("LoadBalancerDescriptions", ())}
    if wanted not in known:
        yield (f"no load balancer of this account has the DNS name {name} here. Write the DNSName that `aws elbv2 "
               "describe-load-balancers` shows")
    elif zone != known[wanted]:
        yield f"the hosted zone of {name} is {known[wanted]}, not {zone or 'empty'}. Write that as `zone`"


def _bucket(name: str, region: str, owner: str, client: Callable[[str], Any]) -> Iterator[str]:
    try:
        found = client("s3").head_bucket(Bucket=name, ExpectedBucketOwner=owner)
    except ClientError as error:
        if error_code(error) == "404":
            return  # routing.apply makes it
        if error_code(error) == "403":
            yield f"the bucket {name} belongs to another account, or you may not see it. Choose another name"
            return
        if error_code(error) != "301":
            raise
        found = error.response
    there = found["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", region)
    if there != region:
        yield f"the bucket {name} is in {there}. Name one of {region}, which is read when {there} is dead"


def _target_group(name: str, client: Callable[[str], Any]) -> Iterator[str]:
    try:
        list(pages(client("elbv2"), "describe_target_groups", Names=[name]))
    except ClientError as error:
        if error_code(error) != "TargetGroupNotFound":
            raise
        yield f"there is no target group {name}. Create it, or write the name of another one"


def _group(name: str, client: Callable[[str], Any]) -> Iterator[str]:
    groups = pages(client("autoscaling"), "describe_auto_scaling_groups", AutoScalingGroupNames=[name])
    if not any(page["AutoScalingGroups"] for page in groups):
        yield f"there is no Auto Scaling group {name}. Create it, or write the name of another one"


def _tagged(tag: str, client: Callable[[str], Any]) -> Iterator[str]:
    key, _, value = tag.partition("=")
    filters = [{"Name": f"tag:{key}", "Values": [value]},
               {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    if not any(page["Reservations"] for page in pages(client("ec2"), "describe_instances", Filters=filters)):
        yield f"no instance has the tag {tag}. Give it to the tunnel hosts of this region"


def _document(name: str, client: Callable[[str], Any]) -> Iterator[str]:
    try:
        client("ssm").describe_document(Name=name)
    except ClientError as error:
        if error_code(error) != "InvalidDocument":
            raise
        yield f"there is no Systems Manager document {name}. Create it, or write the name of another one"


def _secret(name: str, client: Callable[[str], Any]) -> Iterator[str]:
    try:
        found = client("secretsmanager").describe_secret(SecretId=name)
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        yield (f"there is no secret {name}. Create it here, or replicate it here (aws secretsmanager "
               "replicate-secret-to-regions)")
        return
    if found.get("DeletedDate"):
        yield f"the secret {name} is about to be deleted, and nobody can read it. Restore it, or name another one"


def _cluster(name: str, client: Callable[[str], Any]) -> Iterator[str]:
    if not any(one["status"] == "ACTIVE" for one in client("ecs").describe_clusters(clusters=[name])["clusters"]):
        yield f"there is no active ECS cluster {name}. Create it: each region may have to run the jobs"


def _task_definition(ecs: Ecs, client: Callable[[str], Any]) -> Iterator[str]:
    try:
        found = client("ecs").describe_task_definition(taskDefinition=ecs.task_definition)["taskDefinition"]
    except ClientError as error:
        if error_code(error) not in ("ClientException", "InvalidParameterException"):
            raise
        yield f"there is no task definition {ecs.task_definition}. Register it here, too"
        return
    if found.get("status", "ACTIVE") != "ACTIVE":
        yield f"the task definition {ecs.task_definition} is {found['status']}, so no task starts. Register it anew"
        return
    containers = [one["name"] for one in found["containerDefinitions"]]
    if ecs.container not in containers:
        yield (f"{ecs.task_definition} has no container {ecs.container}. Write one of {', '.join(containers)} as "
               "schedules.ecs.container")
    arns = found.get("taskRoleArn"), found.get("executionRoleArn")
    roles = {str(arn).partition(":role/")[2] for arn in arns if arn}
    if missing := sorted(roles - set(ecs.roles)):
        yield (f"{ecs.task_definition} runs with the role {', '.join(missing)}, which the worker may not pass. Add it "
               "to schedules.ecs.roles")


def _online(ssm: Ssm, client: Callable[[str], Any]) -> Iterator[str]:
    filters = [{"Key": f"tag:{ssm.tag}", "Values": [ssm.value]}, {"Key": "PingStatus", "Values": ["Online"]}]
    instances = pages(client("ssm"), "describe_instance_information", Filters=filters)
    if not any(page["InstanceInformationList"] for page in instances):
        yield (f"no instance with the tag {ssm.tag}={ssm.value} is online in Systems Manager. Jobs with on=ssm would "
               "fail here. Tag one that runs the SSM agent")


def _network(network: Network, client: Callable[[str], Any]) -> Iterator[str]:
    yield from _in_one_vpc(client("ec2"), network.subnets, network.security_groups)


def _hosts(place: HostRegion, client: Callable[[str], Any]) -> Iterator[str]:
    yield from _in_one_vpc(client("ec2"), place.subnets, (), place.vpc)


def _in_one_vpc(ec2: Any, subnets: Sequence[str], groups: Sequence[str], vpc: str = "") -> Iterator[str]:
    """Each id that is not there, and each that lies in another VPC than the first one (or than `vpc`)."""
    placed: dict[str, str] = {}
    for kind, ids, asked in (("subnet", subnets, "subnet-id"), ("security group", groups, "group-id")):
        # By a filter, since a call with ids fails as a whole when one of them is unknown.
        filters = [{"Name": asked, "Values": list(ids)}]
        if not ids:
            continue
        found = [one for page in pages(ec2, "describe_subnets", Filters=filters) for one in page["Subnets"]] if (
            kind == "subnet") else [one for page in pages(ec2, "describe_security_groups", Filters=filters)
                                    for one in page["SecurityGroups"]]
        there = {str(one["SubnetId" if kind == "subnet" else "GroupId"]): str(one["VpcId"]) for one in found}
        there = {id: vpc for id, vpc in there.items() if id in ids}
        yield from (f"there is no {kind} {id}. Write the id of one that is in this region" for id in ids
                    if id not in there)
        placed |= there
    home = vpc or next(iter(placed.values()), "")
    for id, place in placed.items():
        if place != home:
            yield f"{id} lies in {place}, not in {home}. Name only what is in one VPC"
