"""Credentials for AWS, and the services that a function calls by itself, without an SDK: importing one costs more than
the call."""
