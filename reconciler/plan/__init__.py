"""What must change, in which order, and why: pure functions from files and record to a plan."""
