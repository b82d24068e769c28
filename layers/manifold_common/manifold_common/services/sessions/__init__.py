"""Sessions: a working set from checkout to close, its drafts and its commits."""
