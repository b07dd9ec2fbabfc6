"""Floor 1: records, formats, validation, near-duplicates, splits. No torch."""
