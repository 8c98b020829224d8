"""Propose masks: sampled, laid out, or cut from the image, and what masked-out pixels show."""
