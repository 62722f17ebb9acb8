"""What was last done and what is being done, kept in SQL."""
