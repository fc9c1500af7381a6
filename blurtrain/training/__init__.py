"""One run: process group, optimiser and schedule, checkpoints, loop."""
