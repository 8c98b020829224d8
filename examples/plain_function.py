"""Explain anything that is a function from pictures to scores. Run: `python examples/plain_function.py`."""

import numpy as np

import salience


def brightness(pictures: np.ndarray) -> np.ndarray:
    """Call a picture bright or dark, from numpy (n h w 3) in 0…1 to (n 2)."""
    bright = pictures[:, :24].mean(axis=(1, 2, 3))
    return np.stack([1 - bright, bright], axis=1)


box = salience.load(brightness, size=48, classes=["dark", "bright"], takes="numpy")
why = salience.explain(box, np.full((48, 48, 3), 255, np.uint8), method="occlusion", window=8, stride=4, fill="black")

print(why)
print("evidence in the upper half:", round(float(why.saliency[:24].sum() / why.saliency.sum()), 2))
