"""The program of the runner Lambda, in which the commands of on=lambda and the Python jobs run.

It reaches no table and no queue. A `Command` comes in, and the `Result` goes out. The worker claims and records.
"""
