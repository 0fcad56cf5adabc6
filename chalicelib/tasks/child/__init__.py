"""The side of the runner Lambda: the handler, and the processes in which the functions of tasks/ run.

It stands on `chalicelib/runner/`, and imports nothing of AWS.
"""
