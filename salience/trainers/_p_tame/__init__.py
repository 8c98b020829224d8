"""P-TAME's parts: the learner, the split, the losses, the search for weights."""
