"""Applies on a model of the hosts, stopped wherever an apply can be; the executor, journal and record are the real ones."""
