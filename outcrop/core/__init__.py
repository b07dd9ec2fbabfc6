"""Floor 0: words that every part may use. Standard library and pydantic only."""
