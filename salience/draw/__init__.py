"""Maps to pictures. Normalisation happens here and nowhere else."""
