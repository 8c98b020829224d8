"""The only way to a score: one loop owns batches, backend, counting, budget and progress."""
