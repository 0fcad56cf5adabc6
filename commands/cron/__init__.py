"""Commands that read crontab files."""
