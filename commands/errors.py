"""How a command tells its user of a mistake."""


class UsageError(Exception):
    """A usage error. The text names the thing, the place (file:line:column or ARN) and the remedy.

    `lamp` prints it without a stack trace and ends with status 2. Each line of the text is one mistake.
    """


class DeclaredMistake(UsageError):
    """A mistake in what the user declares in cron/ or tasks/, which `lamp check` tells by a check of its own."""
