"""Floor 4: one file per verb; the only place where the floors below meet."""
