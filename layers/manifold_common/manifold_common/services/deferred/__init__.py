"""Requests that are answered by the job that does them, and what has come of them."""
