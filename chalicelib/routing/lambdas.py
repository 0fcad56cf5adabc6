"""The Lambdas of routing: trigger, time-out, memory, network and permissions of each."""

from chalicelib.engine.deployment import ALERT, JOURNAL, MINUTE, REGIONAL_TABLE, Lambda, Permission, Schedule

LAMBDAS = (
    Lambda(
        name="routing.plan",
        timeout_seconds=60,
        memory_mb=512,
        permissions=(
            Permission("SeeZone", ("route53:ListResourceRecordSets",), "{zone}"),
            Permission("SeeChecks", ("route53:GetHealthCheckStatus",), "{checks}"),
            Permission("ListChecks", ("route53:ListHealthChecks",), "{checks-any}"),
            Permission("SeeBuckets", ("s3:GetBucketPolicy", "s3:ListBucket"), "{mark-buckets}"),
            Permission("SeeVerdicts", ("dynamodb:GetItem",), "{verdicts}"),
        ),
    ),
    Lambda(
        name="routing.apply",
        timeout_seconds=300,
        memory_mb=512,
        permissions=(
            Permission("SeeZone", ("route53:ListResourceRecordSets",), "{zone}"),
            Permission("SeeChecks", ("route53:GetHealthCheckStatus",), "{checks}"),
            Permission("ListChecks", ("route53:ListHealthChecks",), "{checks-any}"),
            Permission("SeeBuckets", ("s3:GetBucketPolicy", "s3:ListBucket"), "{mark-buckets}"),
            Permission("SeeVerdicts", ("dynamodb:GetItem",), "{verdicts}"),
            Permission("ChangeZone", ("route53:ChangeResourceRecordSets",), "{zone}"),
            Permission("MakeChecks", ("route53:CreateHealthCheck",), "{checks-any}"),
            Permission("DropChecks", ("route53:DeleteHealthCheck",), "{checks}"),
            Permission(
                "OpenBuckets",
                ("s3:CreateBucket", "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock"),
                "{mark-buckets}",
            ),
            JOURNAL,
        ),
    ),
    Lambda(
        name="routing.drift",
        timeout_seconds=120,
        memory_mb=512,
        trigger=Schedule(
            "cron(23 * * * ? *)",
            "compare Route 53 with fleet.toml",
            failing="routing_drift fails: nobody sees if Route 53 differs from fleet.toml",
            section="routing",
        ),
        permissions=(
            Permission("SeeZone", ("route53:ListResourceRecordSets",), "{zone}"),
            Permission("SeeChecks", ("route53:GetHealthCheckStatus",), "{checks}"),
            Permission("ListChecks", ("route53:ListHealthChecks",), "{checks-any}"),
            Permission("SeeBuckets", ("s3:GetBucketPolicy", "s3:ListBucket"), "{mark-buckets}"),
            Permission("SeeVerdicts", ("dynamodb:GetItem",), "{verdicts}"),
            ALERT,
            Permission("Journal", ("dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="routing.evacuate",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(
            Permission("SeeMarks", ("s3:GetObject",), "{marks}"),
            Permission("MissMarks", ("s3:ListBucket",), "{mark-buckets}"),
            Permission("Mark", ("s3:PutObject",), "{marks}"),
            Permission("Remember", ("dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="routing.restore",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(
            Permission("SeeMarks", ("s3:GetObject",), "{marks}"),
            Permission("MissMarks", ("s3:ListBucket",), "{mark-buckets}"),
            Permission("Unmark", ("s3:DeleteObject",), "{marks}"),
            Permission("Remember", ("dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="routing.hold",
        timeout_seconds=30,
        memory_mb=256,
        trigger=Schedule(
            MINUTE,
            "keep users away from a region that died until it has been quiet",
            failing="routing_hold fails, and a region that dies may get its users back too soon",
            section="routing",
        ),
        permissions=(
            Permission("SeeMarks", ("s3:GetObject",), "{marks}"),
            Permission("MissMarks", ("s3:ListBucket",), "{mark-buckets}"),
            Permission("Mark", ("s3:DeleteObject", "s3:PutObject"), "{marks}"),
            ALERT,
            Permission("Remember", ("dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="routing.status",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(
            Permission("SeeMarks", ("s3:GetObject",), "{marks}"),
            Permission("MissMarks", ("s3:ListBucket",), "{mark-buckets}"),
            Permission("Remember", ("dynamodb:GetItem",), REGIONAL_TABLE),
        ),
    ),
)
