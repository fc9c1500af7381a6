"""Runs in trackers of experiments (Weights & Biases, MLflow), from their journals and files. Never needs torch."""
