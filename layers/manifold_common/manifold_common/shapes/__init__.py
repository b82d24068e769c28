"""What the world says to Manifold and hears from it, once."""
