"""The client's side: working sets, imports and exports on a machine that has nothing but a server's address.

The server decides; the client does the work. Bytes go between this machine and the object store directly, sealed and
opened here, with keys of single objects that the server grants. Functions do not need this package.
"""
