"""The training of a classifier around a loss."""
