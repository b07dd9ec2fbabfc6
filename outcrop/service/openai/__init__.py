"""OpenAI's API: models, chat completions and completions. Its bodies are those of imported models on Bedrock, too."""
