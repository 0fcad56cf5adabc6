"""The errors of Route 53."""

from collections.abc import Sequence

# The error codes with their HTTP status, from the API reference; all others are 400.
_STATUS = {"NoSuchHostedZone": 404, "NoSuchHealthCheck": 404, "NoSuchChange": 404, "HealthCheckVersionMismatch": 409,
           "HealthCheckAlreadyExists": 409, "HostedZoneAlreadyExists": 409, "ServiceUnavailable": 503}


class Refusal(Exception):
    """A call that Route 53 rejects, with its error code, HTTP status and messages (several only for
    InvalidChangeBatch)."""

    def __init__(self, code: str, messages: str | Sequence[str]) -> None:
        self.code = code
        self.status = _STATUS.get(code, 400)
        self.messages = [messages] if isinstance(messages, str) else list(messages)
        super().__init__(f"{code}: {'; '.join(self.messages)}")


def invalid(message: str) -> Refusal:
    """The refusal of a value that does not fit."""
    return Refusal("InvalidInput", message)
