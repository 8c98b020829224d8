"""How a network runs fast: backends, compiled networks, blending inside the network, and the disk cache."""
