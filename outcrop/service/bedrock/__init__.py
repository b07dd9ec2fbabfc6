"""Bedrock's API: its wire, its control plane, and the registry that its runtime asks."""
