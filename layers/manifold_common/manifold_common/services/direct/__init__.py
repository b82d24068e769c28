"""Clients that read and store content past the server: plans of what to read, uploads and their inspection."""
