"""Runs applies on a model of the hosts and stops them at any point; executor, journal and state are the real ones."""
