"""Personal data and secrets: found, masked, replaced, and looked for again."""
