"""What is wrong with a dataset, or a folder of images, before anybody trains on it: `blurtrain data check`."""
