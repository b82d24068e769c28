"""Files that arrive in parts, over several requests. Each part is sealed as it comes in."""
