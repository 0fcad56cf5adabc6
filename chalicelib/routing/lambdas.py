"""The Lambdas of routing, one row each, and all that they may do."""

from chalicelib.engine.deployment import (
    ALERTING,
    ALERTS,
    ANY_REPLICA,
    JOURNAL,
    PUBLISH,
    Lambda,
    Permission,
    Schedule,
    coordination,
    regional,
)

_NO_TAGS = "Route 53 chooses the ids of checks, and policies cannot go by a check's tags"
_FLAGS = "one flag for each region lies in this folder, and nothing else does"
SEE = (
    Permission("SeeZone", "route53:ListResourceRecordSets", "{zone}", "compares the records with fleet.toml"),
    Permission("SeeChecks", "route53:GetHealthCheckStatus", "{checks}", "refuses to lead users to a dead region",
               wildcard=_NO_TAGS),
    Permission("ListChecks", "route53:ListHealthChecks", "{checks-any}", "finds its checks by their references",
               wildcard="the list has no resource"),
    Permission("SeeBuckets", "s3:GetBucketPolicy s3:ListBucket", "{mark-buckets}", "flags must be public"),
    Permission("ReadRegionChecks", "dynamodb:GetItem", "{region-checks}", "the check of each region's hosts",
               keys=("region-check",), wildcard=ANY_REPLICA),
)
CHANGE = (
    Permission("ChangeZone", "route53:ChangeResourceRecordSets", "{zone}", "writes the records"),
    Permission("MakeChecks", "route53:CreateHealthCheck", "{checks-any}", "makes the checks of regions",
               wildcard="the id of a check is not known before Route 53 has made it"),
    Permission("DropChecks", "route53:DeleteHealthCheck", "{checks}", "deletes checks that nothing uses",
               wildcard=_NO_TAGS),
    Permission("OpenBuckets", "s3:CreateBucket s3:PutBucketPolicy s3:PutBucketPublicAccessBlock", "{mark-buckets}",
               "health checkers read flags without credentials"),
)
SEE_MARKS = Permission("SeeMarks", "s3:GetObject", "{marks}", "which regions are evacuated", wildcard=_FLAGS)
MISS_MARKS = Permission("MissMarks", "s3:ListBucket", "{mark-buckets}", "S3 says 'not there' to those who may list")
SET_MARK = Permission("Mark", "s3:PutObject", "{marks}", "evacuates a region", wildcard=_FLAGS)
DROP_MARK = Permission("Unmark", "s3:DeleteObject", "{marks}", "lets a region's users back", wildcard=_FLAGS)
TAKE_BACK = Permission("Unmark", "s3:DeleteObject", "{marks}", "takes a flag back that health checkers cannot read",
                       wildcard=_FLAGS)
HEALTH = regional("Remember", "GetItem PutItem", "region-health", why="how long each region has been healthy")
SEE_HEALTH = regional("ReadState", "GetItem", "region-health", why="how long each region has been healthy")
REPORT = (coordination("Report", "GetItem PutItem", "endpoint-reports", why="tells others which endpoints answer here"),
          coordination("PeerReports", "BatchGetItem", "endpoint-reports", why="which endpoints answer elsewhere"))
MARKS = (SEE_MARKS, MISS_MARKS)

COMPARED = Schedule(expression="cron(23 * * * ? *)", section="routing", does="compare Route 53 with fleet.toml",
                    harm="nobody sees if Route 53 differs from fleet.toml")
HELD = Schedule(section="routing", does="keep users away from a region that died until it has been quiet",
                harm="a region that dies may get its users back too soon")

# name, seconds, MB, permissions
LAMBDAS = (
    Lambda("routing.plan", 60, 512, SEE),
    Lambda("routing.apply", 300, 512, (*SEE, *CHANGE, JOURNAL)),
    Lambda("routing.drift", 120, 512, (*SEE, PUBLISH, ALERTS), trigger=COMPARED),
    Lambda("routing.evacuate", 30, 256, (*MARKS, SET_MARK, TAKE_BACK, SEE_HEALTH, JOURNAL)),
    Lambda("routing.restore", 30, 256, (*MARKS, DROP_MARK, SEE_HEALTH, JOURNAL)),
    Lambda("routing.hold", 30, 256, (*MARKS, SET_MARK, DROP_MARK, HEALTH, *REPORT, *ALERTING), trigger=HELD,
           reserved=3),
    Lambda("routing.status", 30, 256, (*MARKS, SEE_HEALTH)),
)
