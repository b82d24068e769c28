"""The servers of enterprise mode on one machine, from wheels: for those who want to see it work, and for tests."""
