"""The commands of `lamp`. Never shipped to Lambda."""
