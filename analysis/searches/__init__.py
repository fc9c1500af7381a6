"""Searches: their trials, what mattered, what was chosen, and how it is shown."""
