"""Reading the journal of a region: what was done there, when, by what, and why."""
