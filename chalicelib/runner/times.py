"""The time in which users' code is to end."""

# From the polite signal to the one that cannot be refused, and the time in which all processes are to end after it.
GRACE_SECONDS, ENDING_SECONDS = 5.0, 5.0
# A cold start takes up to 10 s ("Lambda execution environment", developer guide), and the answer a little.
_STARTING_SECONDS, _ANSWERING_SECONDS = 10.0, 15.0
# How much longer than the code may run a worker waits for the answer.
AROUND_SECONDS = _STARTING_SECONDS + GRACE_SECONDS + ENDING_SECONDS + _ANSWERING_SECONDS
