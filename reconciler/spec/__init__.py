"""Reads, checks and expands slice and cluster files."""
