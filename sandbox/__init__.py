"""A whole fleet on your own machine: an embedded AWS with every region, and faults on demand."""
