"""A look at whether a server redirects, before it is sent credentials.

obstore follows a redirect to another port of the same host, and takes a session token along; it cannot be told not to.
So a custom endpoint that is to get temporary credentials is first asked without any, and gets none until it has
answered.
"""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import quote, urlsplit

from manifold_common.adapters.s3.failures import REDIRECTED, Failure, read_lost_connection
from manifold_common.adapters.s3.options import S3Options


def look_for_redirect(options: S3Options, key: str) -> Failure | None:
    """Return what keeps credentials from being sent to the server: that it answers a GET of ``key`` with a redirect, or
    does not answer. ``None``: nothing does."""
    address = urlsplit(options.url)
    host, port = address.hostname or "", address.port
    seconds = min(options.connect_timeout_seconds, options.health_timeout_seconds)
    if address.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=seconds, context=_trust(options)
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
    path = "/".join(part for part in (options.bucket * options.use_path_style, options.prefix.strip("/"), key) if part)
    try:
        connection.request("GET", "/" + quote(path))
        return REDIRECTED if 300 <= connection.getresponse().status < 400 else None
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        return read_lost_connection(error)
    finally:
        connection.close()


def _trust(options: S3Options) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if options.ca_certificates:
        context.load_verify_locations(cadata=options.ca_certificates)
    if not options.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
