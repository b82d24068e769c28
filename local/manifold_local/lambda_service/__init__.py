"""How the stand-in for AWS runs functions: in processes that speak Lambda's Runtime API, with Lambda's limits.

This runs inside ministack, in a Python that has neither Manifold's packages nor its settings: nothing but the standard
library is imported here, and ministack itself where it is there (``service.py``).
"""
