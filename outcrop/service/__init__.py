"""Floor 5: the server: Bedrock's API on this machine."""
