"""Floor 2: bodies of Bedrock's and OpenAI's requests and answers, for the server and for files; functions of JSON."""
