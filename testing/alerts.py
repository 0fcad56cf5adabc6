"""The run that tells, for tests of notices."""

from chalicelib.engine.alert_text import Origin

ORIGIN = Origin("lamps.light", "eu-west-1", "test", "0.0.0")
