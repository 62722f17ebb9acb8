"""Proof that the switches of all hosts carry exactly the declared graph; pure: hosts are asked by apply/trace.py."""
