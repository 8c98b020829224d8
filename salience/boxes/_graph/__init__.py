"""Networks in files: their graph, their layers, and how they are run in parts."""
