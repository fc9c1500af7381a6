"""Every measure that there is, a file each. Torch is imported by these files only."""

MEASURES = {
    "accuracy": "accuracy:Accuracy",
    "calibration": "calibration:Calibration",
    "features": "features:Features",
}
"""Where each of ours is, so that only what is asked for is imported."""
