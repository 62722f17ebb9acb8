"""Reads strict YAML into plain data and keeps the position of every value."""
