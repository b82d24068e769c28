"""The requests that Manifold takes and the answers that it gives, each defined once.

Services take and return these types. HTTP routes, direct events, the client of a server and ``--json`` of the commands
use the same ones, and the OpenAPI document is generated from them. ``base`` has the base classes and common types,
``decode`` turns received bytes into a request.
"""
