"""What is logged of a run of four epochs."""

from blurtrain.settings import Optimisation, Settings

EPOCHS = 4
SETTINGS = Settings(dataset="none", regime="clear", optimisation=Optimisation(epochs=EPOCHS))
METRICS = "top-1 50.0 %"
VALUES = {"loss": 1.25, "top1": 50.0, "sigma": 2.0, "images_per_second": 10.0, "data_wait": 0.25}
