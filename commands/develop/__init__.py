"""Commands for developers: check, test, simulate, init."""
