"""From folders of images to batches on the device: trees, prepared datasets, loaders, augmentation. Knows no models."""
