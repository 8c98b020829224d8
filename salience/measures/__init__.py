"""Measures of a map: pure functions, one a file, each with named protocols."""
