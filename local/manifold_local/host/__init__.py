"""The process behind ``manifold up``."""
