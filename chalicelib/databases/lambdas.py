"""The Lambdas of databases: trigger, time-out, memory, network and permissions of each."""

from chalicelib.engine.deployment import (
    ALERT,
    COORDINATION_TABLE,
    JOURNAL,
    MINUTE,
    REGIONAL_TABLE,
    Lambda,
    Permission,
    Schedule,
)

LAMBDAS = (
    Lambda(
        name="databases.watch",
        timeout_seconds=60,
        memory_mb=256,
        trigger=Schedule(
            MINUTE,
            "look at the region's database, write the heartbeat",
            failing="databases_watch fails, so nobody sees replication stop, and an old primary stays open",
            section="databases",
        ),
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
        trigger=Schedule(
            MINUTE,
            "start replication that stands still",
            failing="databases_heal fails, and replication that stops stays stopped",
            section="databases",
        ),
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
            Permission("JournalAndAlerts", ("dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
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
