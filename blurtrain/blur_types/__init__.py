"""The blur-type detector: whether a photo is sharp, or which of three kinds of blur it has."""

CLASSES = ("defocused_blurred", "defocused_object_portrait", "motion_blurred", "sharp")
"""All soft; the subject soft before a sharp background; motion of camera or subject; none of these. A soft background
behind a sharp subject, noise and a panned background are `sharp`."""
