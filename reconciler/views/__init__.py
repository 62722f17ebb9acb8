"""Formats everything that people and programs read: text, JSON and tables. Nothing here prints."""
