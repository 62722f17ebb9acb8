"""One module per resource type: pure functions from a resource and a fact to commands."""
