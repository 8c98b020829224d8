"""Figures and tables of the documents, each printed by one command."""
