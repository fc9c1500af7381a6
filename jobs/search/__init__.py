"""Hyperparameter searches: Ray Tune says which trial is next and which is stopped; every trial's runs are run
directories like any other."""
