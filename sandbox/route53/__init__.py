"""A twin of Route 53 on this machine: its answers, its health checks, its API, its DNS. See docs/route53-twin.md."""
