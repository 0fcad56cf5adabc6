"""Jobs on a schedule: which slots are due, which region starts them, how a run is claimed and how it ended."""
