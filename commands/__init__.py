"""What `lamp` does. Never shipped to Lambda."""
