"""What networks are asked for, and what they lose: both are settings sections that hold their own behaviour."""

from blurtrain.tasks.loss import CrossEntropy, Loss
from blurtrain.tasks.task import Classification, Task

__all__ = ["Classification", "CrossEntropy", "Loss", "Task"]
