"""Floor 2: model folders and the rendering of records to tokens."""
