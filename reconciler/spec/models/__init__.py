"""Defines the models of slice and cluster files."""
