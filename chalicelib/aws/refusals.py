"""A call that AWS refused, in words. They say which call, why, and what to do about it."""

from collections.abc import Mapping

from chalicelib import foreign
from chalicelib.aws.client import BotoCoreError, ClientError, error_code

_DEPLOY = "Deploy this stage again with `lamp deploy`, and compare the names in fleet.toml with the account"
_DENIED = ("Deploy this stage again with `lamp deploy`, which renews the roles. If it stays so, ask who may have "
           "forbidden it: an SCP of the organization, a permissions boundary, or the resource's own policy")
_GROUP = ("Create the target group, or write the name of one that exists to `target_groups` of [health_checks] or "
          "`target_group` of [tunnels] in fleet.toml, and deploy")
_ZONE = "Write the id of a public hosted zone of this account to `zone` of [routing] in fleet.toml, and deploy"
_BUCKET = ("Run `lamp run routing.apply --apply`, which makes the buckets of [regions.endpoint], or write the name of "
           "one that exists to `bucket` there, and deploy")
_CREDENTIALS = "Enable the region for this account if it is an opt-in region, then deploy with `lamp deploy`"
_DEFAULT = "Compare the names in fleet.toml with the account, and look at the log of this Lambda"

# By AWS's own code.
_REMEDIES: Mapping[str, str] = {
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError",
                     "AuthorizationErrorException", "KMSAccessDeniedException", "403", "Forbidden"), _DENIED),
    **dict.fromkeys(("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure",
                     "OptInRequired"), _CREDENTIALS),
    **dict.fromkeys(("ResourceNotFoundException", "NotFound", "NotFoundException", "QueueDoesNotExist",
                     "AWS.SimpleQueueService.NonExistentQueue", "TableNotFoundException"), _DEPLOY),
    **dict.fromkeys(("TargetGroupNotFound", "TargetGroupNotFoundException"), _GROUP),
    **dict.fromkeys(("NoSuchHostedZone", "InvalidHostedZoneId"), _ZONE),
    "NoSuchBucket": _BUCKET,
}


def explain(error: ClientError | BotoCoreError) -> str:
    """One line: the call with AWS's reason, then the remedy."""
    if not isinstance(error, ClientError):
        return foreign.line(f"a call to AWS could not be made ({type(error).__name__}: {error}). {_DEFAULT}")
    message = str(error.response.get("Error", {}).get("Message", "")).rstrip(".")
    code = error_code(error)
    said = f"{code}: {message}" if message else code
    return foreign.line(f"AWS refused {error.operation_name} ({said}). {_REMEDIES.get(code, _DEFAULT)}")
