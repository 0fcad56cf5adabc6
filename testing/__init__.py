"""Fakes of the AWS ports and real servers, for tests and simulations."""
