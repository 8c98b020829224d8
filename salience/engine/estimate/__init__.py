"""Fold masks and scores into maps: named estimators, each with a running standard error and a stability."""
