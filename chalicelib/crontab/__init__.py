"""Crontabs, cron.yaml and Python jobs: grammar, calendar, daylight saving, timetable, lint, diff. Pure."""
