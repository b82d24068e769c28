"""Projects and what is in them: made, read, changed, moved in and out."""
