"""Work that no request asks for: background tasks, health, and telling an installation from its copy."""
