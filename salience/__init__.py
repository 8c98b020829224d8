"""Why did the classifier say that? Saliency maps for any image classifier, measured and fast.

    import salience

    box = salience.load("timm:resnet50")
    why = salience.explain(box, "dog.jpg")
    why.plot()
"""

from salience.api import explain, load, watch
from salience.errors import SalienceError
from salience.explanation import Explanation

__all__ = ["Explanation", "SalienceError", "explain", "load", "watch"]
__version__ = "0.1.0"
