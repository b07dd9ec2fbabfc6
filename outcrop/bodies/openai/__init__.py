"""Bodies of OpenAI's API, which imported models on Bedrock take, too."""
