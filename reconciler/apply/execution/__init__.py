"""Performs the steps of a plan on hosts, in the order of their dependencies, and reports each result."""
