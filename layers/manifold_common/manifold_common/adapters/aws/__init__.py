"""Credentials for AWS, and the AWS services that a function calls without an SDK, since importing one costs more than
the call."""
