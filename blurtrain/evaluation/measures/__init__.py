"""Every measure that there is, a file each. Torch is imported by these files only."""

MEASURES = {
    "accuracy": "accuracy:Accuracy",
    "blur-types": "blur_types:BlurTypes",
    "calibration": "calibration:Calibration",
    "imagenet-c-blur": "imagenet_c_blur:ImageNetCBlur",
    "shape-bias": "shape_bias:ShapeBias",
    "features": "features:Features",
    "segmentation": "segmentation:Segmentation",
    "deblurring": "deblurring:Deblurring",
    "restoration": "restoration:Restoration",
    "minimal-blur": "minimal_blur:MinimalBlur",
    "adversarial-blur": "adversarial_blur:AdversarialBlur",
    "adversarial-features": "adversarial_blur:AdversarialFeatures",
    "receptive-fields": "receptive_fields:ReceptiveFields",
    "shift-consistency": "shift_consistency:ShiftConsistency",
    "tuning": "tuning:Tuning",
}
"""Where each of ours is, so that only what is asked for is imported."""
