"""A twin of Route 53 on this machine, with its answers, its health checks, its API and its DNS. See
docs/route53-twin.md."""
