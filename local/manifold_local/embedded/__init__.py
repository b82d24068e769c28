"""Servers that Manifold starts itself when no address is configured for them."""
