"""Speed bars, as ratios from one run: ``python -m tests.bench`` (docs/performance.md tells how to read them)."""
