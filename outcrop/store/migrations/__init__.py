"""How the tables came to be: one file in versions/ for each change, the same for SQLite and PostgreSQL."""
