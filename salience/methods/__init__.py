"""Saliency methods, one a file. The folder is the register."""
