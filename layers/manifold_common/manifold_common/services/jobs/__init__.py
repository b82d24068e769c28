"""Work on many items, which goes on over processes, machines and time."""
