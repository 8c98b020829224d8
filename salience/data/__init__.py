"""Data sets: one kind a file, each with `load(name, **options) -> Data`."""
