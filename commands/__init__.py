"""What `lamp` does; never shipped to Lambda."""
