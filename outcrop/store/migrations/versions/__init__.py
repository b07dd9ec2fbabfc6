"""The changes, oldest first; each names the one before it."""
