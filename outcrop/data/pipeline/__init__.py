"""The runner of a preparation: shards through worker processes, resumable, the same bytes for a seed."""
