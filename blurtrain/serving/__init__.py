"""Exported networks at work without torch: one photo, a folder of them, or a service over HTTP."""

from blurtrain.serving.detector import Detector as Detector
