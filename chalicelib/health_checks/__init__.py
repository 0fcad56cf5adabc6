"""A fixed number of Route 53 health checks per region for any number of hosts: anchors are judged, rovers look around."""
