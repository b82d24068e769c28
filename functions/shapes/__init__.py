"""The shapes of requests and answers that more than one function takes or gives."""
