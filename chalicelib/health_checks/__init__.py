"""A fixed number of Route 53 checks in each region for any number of hosts: anchors are judged, rovers look around."""
