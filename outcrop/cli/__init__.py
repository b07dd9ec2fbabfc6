"""Floor 5: the `outcrop` command."""
