"""Use cases, one file each. They know ports and the engine, and neither HTTP nor the command line."""
