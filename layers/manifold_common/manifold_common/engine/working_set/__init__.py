"""The plaintext directory of one session: where it lies, what it was made from, and how it is read and written."""
