"""The rotation of the SSH key of a region's tunnel hosts. `decide` has the next step, `openssh` the text of keys."""
