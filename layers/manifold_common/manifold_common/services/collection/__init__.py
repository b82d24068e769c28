"""What gives space back: history that is not kept, and objects that nothing refers to (docs/garbage.md)."""
