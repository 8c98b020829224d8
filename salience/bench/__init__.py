"""Grids of methods, boxes, data and measures: cells, rows, reports."""
