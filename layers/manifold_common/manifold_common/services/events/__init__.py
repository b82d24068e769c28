"""What the world hears of changes, and what a node hears of others."""
