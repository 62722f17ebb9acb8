"""Checks rules that span several fields or files."""
