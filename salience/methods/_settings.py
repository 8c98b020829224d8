"""Settings that many methods have, each said once."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import Doc

Fill = Annotated[str, Doc("what hidden pixels show: mean, black, white, grey, blur, noise or 0…1")]
Layer = Annotated[str | None, Doc("the layer whose feature maps are weighed; none given: the end of the last block")]
Seed = Annotated[int, Doc("the same seed gives the same masks")]
