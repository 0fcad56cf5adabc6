"""How the SSH key of a region's tunnel hosts is changed: `decide` has the next step, `openssh` the text of keys."""
