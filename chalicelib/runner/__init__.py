"""The Lambdas in which users' code runs, without the authority of the control plane.

`invocation` is the worker's side. `process` and `descendants` are the runner's side, in which that code has processes
of its own. The code in them belongs to the capabilities, as commands of schedules and as tasks.
"""
