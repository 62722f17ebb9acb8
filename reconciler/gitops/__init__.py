"""Connects the reconciler to Git hosting sites: comments, commit statuses and webhooks."""
