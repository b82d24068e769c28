"""The HTTP application as the host serves it: with a rule for Host headers, since there is no sign-in."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from manifold_common.bootstrap import Manifold
from starlette.types import ASGIApp

from functions.api.app import create_app
from functions.api.guard import local_hosts
from functions.api.traffic import Traffic
from manifold_local.host.port import is_loopback


def host_app(manifold: Manifold, traffic: Traffic) -> ASGIApp:
    """Return the application for the address that the settings name."""
    server = manifold.settings.server
    names = [server.host]
    if server.public_url:
        names.append(urlsplit(str(server.public_url)).hostname or "")
    remote = not is_loopback(server.host)
    if remote:
        names.append(socket.gethostname())
    return create_app(manifold, hosts=local_hosts(names, any_address=remote), traffic=traffic)
