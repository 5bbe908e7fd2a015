"""What is written to disk: distilled sets, checkpoints and records,
each believed only after a check."""
