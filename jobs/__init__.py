"""Many runs: what a grid declares, starting what is missing of it, and how each run stands. Never imports torch."""
