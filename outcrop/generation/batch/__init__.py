"""Bulk inference: rows of files to answers, each distinct request computed once."""

BATCH_TOKENS = 16384
"""Tokens of prompts and answers that are in memory at once."""
