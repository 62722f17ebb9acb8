"""The state store in SQL, on SQLite or PostgreSQL."""
