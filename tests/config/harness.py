"""A fleet.toml without a mistake, in which tests make one; they rely on its lines."""

GOOD = """\
name = "lamplighter"

[[regions]]
name = "eu-west-1"

[[regions]]
name = "us-east-1"

[coordination]
regions = ["eu-west-1"]

[schedules]
timezone = "Europe/Stockholm"
takeover_delay = "2m"

[[queues]]
name = "default"
timeout = "60s"

[[queues]]
name = "invoices"
"""
