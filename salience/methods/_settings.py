"""Settings that many methods have, each said once."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import Doc

from salience.engine.inside import input_gradients

Channels = Annotated[
    input_gradients.Channels, Doc("how the channels become one: max-abs, sum-abs, or sum, which keeps the sign")
]
Fill = Annotated[str, Doc("what hidden pixels show: mean, black, white, grey, blur, noise or 0…1")]
Layer = Annotated[str | None, Doc("the layer whose feature maps are weighed; none given: the end of the last block")]
Layers = Annotated[str | None, Doc("layers from shallow to deep, with commas between; none given: the end of each block")]
Rectify = Annotated[bool, Doc("whether negative activations are cut off before a map becomes a mask")]
Regions = Annotated[int, Doc("about how many regions the image is segmented into (superpixels)")]
Seed = Annotated[int, Doc("the same seed gives the same masks")]
SeedOfFill = Annotated[int, Doc("for the noise fill only")]
SeedOfRegions = Annotated[int, Doc("the same seed gives the same regions and masks")]
