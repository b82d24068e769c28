"""Which keys wrap which, and how a project begins to be encrypted."""
