"""The measurements. Each takes the stage and returns one row."""
