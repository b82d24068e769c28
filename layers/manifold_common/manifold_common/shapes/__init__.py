"""What the world says to Manifold and hears from it, each thing once.

Services take and return these; HTTP, events, the client of another server and ``--json`` of the commands use the same
ones, and the description of the API is made from them. ``base`` says what all are made of, ``decode`` how what somebody
sent becomes one.
"""
