"""Explanations, methods and measures as words and plain values, for every surface."""
