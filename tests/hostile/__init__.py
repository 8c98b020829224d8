"""Files, names and numbers that mean harm: what SECURITY.md promises about each."""
