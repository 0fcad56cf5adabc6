"""What holds for every test."""

from hypothesis import settings

# A machine under load is slow, not wrong; the budgets of time that matter have tests of their own.
settings.register_profile("lamplighter", deadline=None, print_blob=True)
settings.load_profile("lamplighter")
