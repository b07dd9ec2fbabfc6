"""STS and IAM as far as programs around Bedrock ask them: who am I, and roles that are accepted and kept."""
