"""Training: the loop, its callbacks, checkpoints and the directory of a run."""
