"""The changes of a stack that CloudFormation refuses half-way, or that cut off what runs, found before anything is
changed. Pure.

"Update behaviors of stack resources" and "Name type" (user guide, template reference) say both: no resource changes its
type, and no resource with a custom name is replaced as long as it keeps that name.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.infrastructure import limits
from chalicelib.infrastructure.parts import Json
from commands.deploy import resource_types

_TUNNELS = ("Deploy once without [tunnels.hosts] in fleet.toml and with --region {region}, which ends the tunnels of "
            "that region, then put it back and deploy again")
_OTHERWISE = ("Remove what declares it from fleet.toml, deploy, put it back and deploy again, or take another name for "
              "it")


def mistakes(old: Json, new: Json, stack: str, region: str) -> Iterator[str]:
    """A line for each resource whose change from template `old` to `new` CloudFormation would refuse in `region`.

    And one for each setting that running tunnel hosts have from their launch, and that would change around them.
    """
    known = {**limits.pseudo_parameters(stack, [region]), "AWS::Region": region}
    before, after = _Template(old, known), _Template(new, known)
    for id in sorted(before.there & after.there):
        kind, other = before.resources[id].get("Type", ""), after.resources[id].get("Type", "")
        remedy = (_TUNNELS if id.startswith("Tunnels") else _OTHERWISE).format(region=region)
        if kind != other:
            yield (f"{region} {stack}: {id} is of type {kind} and would be of type {other}, which CloudFormation "
                   f"refuses. {remedy}")
        elif changed := _replacing(kind, before.properties(id), after.properties(id)):
            yield (f"{region} {stack}: {id} has a name of its own and would be replaced for its new "
                   f"{' and '.join(changed)}, which CloudFormation refuses. {remedy}")
    if "TunnelsGroup" in before.there & after.there:
        for line in _around_hosts(before, after):
            yield f"{region} {stack}: {line}. {_TUNNELS.format(region=region)}"


def _around_hosts(before: "_Template", after: "_Template") -> Iterator[str]:
    """A deployment changes the balancer and the security groups in place, but never a host."""
    asked, other = (each.properties("TunnelsTargets").get("HealthCheckPort") for each in (before, after))
    if asked != other:
        yield (f"the running tunnel hosts keep the health_port {asked} of their launch, and the balancer would ask "
               f"{other}, so that none is healthy")
    old, new = (each.properties("TunnelsHosts").get("SecurityGroupEgress", []) for each in (before, after))
    permitted = [(rule["FromPort"], rule["CidrIp"]) for rule in new]
    for port, network in [(rule["FromPort"], rule["CidrIp"]) for rule in old]:
        if (port, network) not in permitted and (port, "0.0.0.0/0") not in permitted:
            yield (f"the running tunnel hosts keep the gateway of their launch, and could no longer connect to port "
                   f"{port} of {network.removesuffix('/32')}")


def _replacing(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The properties that replace a resource which keeps its custom name."""
    found = resource_types.known().types.get(kind)
    if found is None or not found.name or not before.get(found.name) or before[found.name] != after.get(found.name):
        return []
    return [name for name in found.create_only if before.get(name) != after.get(name)]


class _Template:
    """A template whose values are read as CloudFormation fills them in."""

    def __init__(self, template: Json, known: Mapping[str, str]) -> None:
        self.resources: Json = template.get("Resources", {})
        self._mappings, self._known = template.get("Mappings", {}), known
        self._conditions = template.get("Conditions", {})
        self.there = {id for id, part in self.resources.items()
                      if "Condition" not in part or self._holds({"Condition": part["Condition"]})}

    def properties(self, id: str) -> Json:
        """The properties of a resource."""
        found: Json = limits.resolved(self._mapped(self.resources[id].get("Properties", {})), {}, self._known)
        return found

    def _mapped(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._mapped(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "Fn::FindInMap" in value:
            name, row, column = (limits.resolved(one, {}, self._known) for one in value["Fn::FindInMap"])
            return self._mappings.get(name, {}).get(row, {}).get(column)
        if "Fn::If" in value:
            name, yes, no = value["Fn::If"]
            return self._mapped(yes if self._holds({"Condition": name}) else no)
        return {name: self._mapped(one) for name, one in value.items()}

    def _holds(self, condition: Json) -> bool:
        [(kind, value)] = condition.items()
        if kind == "Condition":
            return self._holds(self._conditions[value])
        if kind == "Fn::Equals":
            one, other = (limits.resolved(each, {}, self._known) for each in value)
            return bool(one == other)
        if kind == "Fn::Not":
            return not self._holds(value[0])
        return (all if kind == "Fn::And" else any)(self._holds(each) for each in value)
