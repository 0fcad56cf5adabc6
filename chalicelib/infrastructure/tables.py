"""The two tables, and the topic of alerts. Pure."""

from chalicelib.config.declared import Fleet
from chalicelib.infrastructure.parts import Json, named, resource

# A table stays whatever becomes of its stack. `RetainExceptOnCreate` would delete it with a first stack that rolls back
# ("DeletionPolicy attribute", template reference). AWS does not say whether a table that such a stack had imported
# counts as created by it, and that one holds the whole history. The rollback of a stack that made its table leaves an
# empty one. The next deployment imports it.
_KEPT: Json = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
_RECOVERY: Json = {"PointInTimeRecoveryEnabled": True}


def regional() -> Json:
    """The table of one region, written only there."""
    return {"RegionalTable": resource("DynamoDB::Table", {
        **_table(), "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": True},
        "PointInTimeRecoverySpecification": _RECOVERY}, **_KEPT)}


def kept(table: Json, name: str) -> Json:
    """`table` with its name as a plain text.

    CloudFormation takes a table that stayed when its stack was deleted back into a stack only by a name without a
    function in it ("Import AWS resources into a CloudFormation stack automatically", user guide).
    """
    return {**table, "Properties": {**table["Properties"], "TableName": name}}


def topic() -> Json:
    """The topic of alerts. Without a policy it would get SNS's default one, which lets all of the account publish."""
    statement = {
        "Sid": "AlarmsOfThisAccount", "Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish", "Resource": {"Ref": "Alerts"},
        "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}}
    return {
        "Alerts": resource("SNS::Topic", {"TopicName": named("alerts")}),
        "AlertsPolicy": resource("SNS::TopicPolicy", {
            "Topics": [{"Ref": "Alerts"}],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]}})}


def coordination(fleet: Fleet, stage: str) -> Json:
    """The template of the coordination table, strongly consistent in three regions, or plain in one.

    The order of the regions in fleet.toml makes no difference.
    """
    shared = _table()
    if fleet.coordination.strong:
        kind = "DynamoDB::GlobalTable"
        shared |= {"MultiRegionConsistency": "STRONG", "Replicas": [
            {"Region": region, "PointInTimeRecoverySpecification": _RECOVERY}
            for region in sorted(fleet.coordination.regions)]}
    else:
        kind = "DynamoDB::Table"
        shared |= {"PointInTimeRecoverySpecification": _RECOVERY}
    return {"AWSTemplateFormatVersion": "2010-09-09", "Description": "Lamplighter: what its regions agree on",
            "Resources": {"Coordination": kept(resource(kind, shared, **_KEPT), f"{fleet.name}-{stage}-coordination")}}


def _table() -> Json:
    return {
        "TableName": {"Fn::Sub": "${AWS::StackName}"}, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]}
