"""What users write: models of slice and cluster files, loading with positions, and checks."""
