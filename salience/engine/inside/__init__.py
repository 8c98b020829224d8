"""Read layers, gradients and attention of a box that can be looked into."""
