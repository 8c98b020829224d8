"""What an installation does to its owner: complaint class "installation" of other libraries' users."""

import subprocess
import sys
from importlib.metadata import requires


def test_no_requirement_drags_in_opencv_or_sets_an_upper_bound() -> None:
    """Two opencv wheels collide in one folder, and an upper bound blocks somebody's environment."""
    wanted = [each.partition(";")[0] for each in requires("salience") or []]
    assert wanted
    assert not [each for each in wanted if "opencv" in each or "<" in each or "==" in each]


def test_importing_the_library_asks_for_no_network_and_no_optional_package() -> None:
    """An air-gapped machine with the core alone can import it."""
    code = (
        "import socket, sys\n"
        "socket.socket.connect = None\n"
        "for absent in ('torchvision', 'timm', 'transformers', 'matplotlib', 'cv2', 'scipy'): sys.modules[absent] = None\n"
        "import salience, salience.tasks.explain, salience.boxes.torch, salience.methods.iassa\n"
        "import salience.cli, salience.draw.overlay\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603  # our own words
