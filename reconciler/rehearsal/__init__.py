"""Applies on a model of the hosts, stopped wherever one can be; executor, journal and record are the real ones."""
