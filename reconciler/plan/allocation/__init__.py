"""Allocates ids, VLANs, subnets, workers and addresses; a number that was allocated never changes."""
