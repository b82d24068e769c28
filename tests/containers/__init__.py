"""The compose files, the Dockerfile and ``sam local`` on a real container engine: ``make test-containers``."""
