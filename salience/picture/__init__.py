"""Pictures in, images out, and the way back.

`read` accepts whatever people call a picture. A `Preparation` is what a box's weights want done to it; applied, it
gives an image and the `Geometry` that puts a map back onto the photograph.
"""

from salience.picture.decoding import SUFFIXES, looks_like_picture
from salience.picture.geometry import Geometry
from salience.picture.picture import Picture
from salience.picture.preparation import Filter, Preparation
from salience.picture.reading import read
from salience.picture.web import is_address

__all__ = ["SUFFIXES", "Filter", "Geometry", "Picture", "Preparation", "is_address", "looks_like_picture", "read"]
