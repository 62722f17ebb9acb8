"""Reads what is on hosts: facts, surveys, drift, orphans, and whether hosts are fit."""
