"""The permissions of a tunnel host in AWS. It may read its key and the gateway's host keys, and receive commands.
Nothing else.

It may not open a data channel, so nobody gets a shell on it through Session Manager either.
"""

from typing import Any

from chalicelib.config import tunnel_hosts as host

Json = dict[str, Any]

# What the agent of Systems Manager needs to be known and to run commands, of the managed policy
# AmazonSSMManagedInstanceCore: no inventory, no patching, no associations, and above all no data channel (sessions).
# None but UpdateInstanceInformation takes a resource: service authorization reference.
_AGENT = (
    "ssmmessages:CreateControlChannel", "ssmmessages:OpenControlChannel",
    "ec2messages:AcknowledgeMessage", "ec2messages:DeleteMessage", "ec2messages:FailMessage",
    "ec2messages:GetEndpoint", "ec2messages:GetMessages", "ec2messages:SendReply",
)


def resources(ways: bool) -> Json:
    """Role, policy and instance profile. With `ways` there is more than one to a primary."""
    return {
        "TunnelsRole": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {
            "Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}}},
        "TunnelsPolicy": {"Type": "AWS::IAM::Policy", "Properties": {
            "PolicyName": "tunnels", "Roles": [{"Ref": "TunnelsRole"}],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": statements(ways)}}},
        "TunnelsProfile": {"Type": "AWS::IAM::InstanceProfile", "Properties": {"Roles": [{"Ref": "TunnelsRole"}]}},
    }


def statements(ways: bool) -> list[Json]:
    """All that the role allows."""
    stack = "${AWS::StackName}"
    parameters = [host.known_hosts_parameter(stack), *([host.primary_region_parameter(stack)] if ways else [])]
    return [
        # Secrets Manager adds a hyphen and six characters of its own to a secret's name.
        {"Sid": "ReadKey", "Effect": "Allow", "Action": "secretsmanager:GetSecretValue",
         "Resource": _arn("secretsmanager", f"secret:{host.private_key_secret(stack)}-??????")},
        {"Sid": "ReadHostKeys", "Effect": "Allow", "Action": "ssm:GetParameter",
         "Resource": [_arn("ssm", f"parameter{name}") for name in parameters]},
        {"Sid": "BeManaged", "Effect": "Allow", "Action": "ssm:UpdateInstanceInformation",
         "Resource": _arn("ec2", "instance/*")},
        {"Sid": "TakeCommands", "Effect": "Allow", "Action": list(_AGENT), "Resource": "*"},
    ]


def _arn(service: str, rest: str) -> Json:
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{rest}"}
