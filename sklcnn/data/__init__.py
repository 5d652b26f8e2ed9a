"""From what the user passed to batches, targets and weights."""
