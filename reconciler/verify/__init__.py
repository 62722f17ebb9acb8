"""Compares what the live network would carry with the declared links. Pure: no host is contacted here."""
