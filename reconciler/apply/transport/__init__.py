"""Carries batches of commands and files to hosts over SSH, and reads the results back."""
