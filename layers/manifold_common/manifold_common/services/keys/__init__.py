"""Which keys wrap which, how a project begins to be encrypted, and where its plaintext may be."""
