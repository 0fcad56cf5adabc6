"""A fixed number of Route 53 checks in each region for any number of hosts. Fixed checks decide the status, rotating
checks visit the others."""
