"""IASSA's parts: the attention, and the variant `plus`."""
