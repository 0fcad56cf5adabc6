"""The Lambdas of databases: trigger, time-out, memory, network and permissions of each."""

from chalicelib.engine.deployment import ALERT, COORDINATION_TABLE, JOURNAL, REGIONAL_TABLE, Lambda, Permission

LAMBDAS = (
    Lambda(
        name="databases.watch",
        timeout_seconds=60,
        memory_mb=256,
        private_network=True,
        permissions=(
            Permission("WatcherSecret", ("secretsmanager:GetSecretValue",), "{database-secret}"),
            Permission("AdminSecret", ("secretsmanager:GetSecretValue",), "{admin-secret}"),
            Permission("Agree", ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"), COORDINATION_TABLE),
            ALERT,
            Permission("Remember", ("dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="databases.heal",
        timeout_seconds=90,
        memory_mb=256,
        private_network=True,
        permissions=(
            Permission("WatcherSecret", ("secretsmanager:GetSecretValue",), "{database-secret}"),
            Permission("AdminSecret", ("secretsmanager:GetSecretValue",), "{admin-secret}"),
            Permission("Agree", ("dynamodb:BatchGetItem", "dynamodb:GetItem"), COORDINATION_TABLE),
            ALERT,
            Permission("Remember", ("dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="databases.tune",
        timeout_seconds=120,
        memory_mb=256,
        private_network=True,
        permissions=(
            Permission("WatcherSecret", ("secretsmanager:GetSecretValue",), "{database-secret}"),
            Permission("AdminSecret", ("secretsmanager:GetSecretValue",), "{admin-secret}"),
            Permission("Agree", ("dynamodb:BatchGetItem", "dynamodb:GetItem"), COORDINATION_TABLE),
            JOURNAL,
        ),
    ),
    Lambda(
        name="databases.fence",
        timeout_seconds=300,
        memory_mb=256,
        private_network=True,
        permissions=(
            Permission("WatcherSecret", ("secretsmanager:GetSecretValue",), "{database-secret}"),
            Permission("AdminSecret", ("secretsmanager:GetSecretValue",), "{admin-secret}"),
            Permission("Agree", ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"), COORDINATION_TABLE),
            JOURNAL,
        ),
    ),
    Lambda(
        name="databases.promote",
        timeout_seconds=900,
        memory_mb=256,
        private_network=True,
        permissions=(
            Permission("WatcherSecret", ("secretsmanager:GetSecretValue",), "{database-secret}"),
            Permission("AdminSecret", ("secretsmanager:GetSecretValue",), "{admin-secret}"),
            Permission("Agree", ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"), COORDINATION_TABLE),
            ALERT,
            JOURNAL,
        ),
    ),
    Lambda(
        name="databases.status",
        timeout_seconds=30,
        memory_mb=256,
        private_network=True,
        permissions=(
            Permission("WatcherSecret", ("secretsmanager:GetSecretValue",), "{database-secret}"),
            Permission("Agree", ("dynamodb:BatchGetItem", "dynamodb:GetItem"), COORDINATION_TABLE),
        ),
    ),
)
