"""Real servers for tests: OpenSSH, MariaDB, HAProxy."""
