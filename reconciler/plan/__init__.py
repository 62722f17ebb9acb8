"""Plans what must change, in which order, and why, from the files and the state."""
