"""Jobs on a schedule, with their due slots, the region that starts them, the claim of a run and its end."""
