"""Floor 1: the only SQL, and the only object storage."""
