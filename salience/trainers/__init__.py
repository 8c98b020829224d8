"""Trainers: a box and pictures in, something trained out."""
