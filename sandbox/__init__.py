"""A whole fleet on your own machine, with an embedded AWS of every region, and faults on demand."""
