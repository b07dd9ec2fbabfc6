"""vLLM as an engine: a server of its own environment, started, asked and ended by us."""
