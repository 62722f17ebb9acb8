"""Simulates a cluster: model hosts, connections to them, and a state in memory that is copied and restored."""
