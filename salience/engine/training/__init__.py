"""What the trainers share: the loop, the order of pictures, checkpoints, and the explainer's network."""
