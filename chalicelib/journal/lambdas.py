"""The Lambdas of journal: trigger, time-out, memory, network and permissions of each."""

from chalicelib.engine.deployment import REGIONAL_TABLE, Lambda, Permission

LAMBDAS = (
    Lambda(
        name="journal.read",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(Permission("Read", ("dynamodb:Query",), REGIONAL_TABLE),),
    ),
)
