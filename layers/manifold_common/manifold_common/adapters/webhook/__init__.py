"""Events posted to HTTP endpoints, signed as Standard Webhooks has it."""
