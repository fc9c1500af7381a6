"""Run directories -> tidy tables in a cache beside the runs, and the frames that users load."""
