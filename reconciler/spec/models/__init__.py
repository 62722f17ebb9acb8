"""Frozen pydantic models of slice and cluster files, and the field types they share."""
