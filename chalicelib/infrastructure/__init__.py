"""The registry of the capabilities compiled to what AWS gets: template, rules, queues, alarms, policies.

`lamp check --renew` writes the part that every fleet has to .chalice/, and packaging adds what fleet.toml declares. No
Lambda imports this package, and none carries it (docs/decisions/generated-infrastructure.md).
"""
