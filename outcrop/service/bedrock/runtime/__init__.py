"""Bedrock's runtime: InvokeModel, Converse, their streams, CountTokens, and the log of what was asked and answered."""
