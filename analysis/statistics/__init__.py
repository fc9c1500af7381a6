"""Intervals, tests and corrections over seeds and test images; they know nothing of runs."""
