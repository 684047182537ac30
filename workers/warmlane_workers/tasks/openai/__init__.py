"""The `llm/v1` tasks: requests and answers of OpenAI's API over the pipelines of an artifact."""
