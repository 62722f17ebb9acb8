"""Locks on slices: leases with fencing tokens."""
