"""A plan as text, JSON and other forms for people and programs; nothing here prints."""
