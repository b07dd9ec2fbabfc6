"""Bedrock, out in the open: model customization on your own machine."""
