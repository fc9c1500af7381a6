"""The report: one page with all tables, figures and verdicts of a folder of runs."""
