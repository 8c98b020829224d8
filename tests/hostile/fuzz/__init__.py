"""Fuzzing: what people and files may hand in, drawn by hypothesis, run within a time limit, and judged.

A recipe is a case in plain values, so that it can be saved as JSON and run again. A kind has a strategy of recipes and
says how one is run: quietly where it is rightly accepted, `WrongError` where it ought to have been refused.
"""
