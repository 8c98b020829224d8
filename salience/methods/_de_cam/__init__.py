"""DE-CAM's parts: the evolution, what a mask is made of, and the regression."""
