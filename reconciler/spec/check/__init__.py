"""Checks the rules that no single field can check: within a slice, within a cluster, and across files."""
