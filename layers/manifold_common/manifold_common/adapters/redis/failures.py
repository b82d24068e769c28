"""Every way in which Redis can fail, said in words of ours: what a server answers may repeat what was sent to it."""

from __future__ import annotations

import re
import ssl

from redis import exceptions

from manifold_common.adapters.redis.options import REFUSED, RedisOptions
from manifold_common.domain.wording import span
from manifold_common.errors import Unavailable

_REFUSALS = (exceptions.AuthenticationError, exceptions.NoPermissionError)
_CODE = re.compile(r"[A-Z]{2,20}(?= |$)")


def unavailable(options: RedisOptions, error: Exception) -> Unavailable:
    """Return the error to raise for ``error``, which must not hang on it."""
    reason, hint = _reason(options, error)
    refused = {"reason": REFUSED} if isinstance(error, _REFUSALS) else {}
    return Unavailable(f"Redis at {options.where}: {reason}", hint=hint, **refused)


def _reason(options: RedisOptions, error: Exception) -> tuple[str, str]:
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return (
            f"no answer within {span(options.timeout_seconds)}",
            "check projects.redis.addr and the network; 'redis-cli ping' must answer",
        )
    if _is_tls(error):
        return (
            "no TLS connection",
            "check projects.redis.tls: caFile must hold the issuer of the server's certificate, certFile and keyFile "
            "what the server asks of its clients",
        )
    if isinstance(error, _REFUSALS):
        return (
            "it refuses the sign-in, or what was asked",
            "check REDIS_USERNAME and REDIS_PASSWORD; the user needs the commands, keys and channels named in "
            "docs/coordination.md",
        )
    if isinstance(error, exceptions.ConnectionError | OSError) and not _code(error):
        return (
            "it cannot be connected to, or broke the connection",
            "check projects.redis.addr, projects.redis.tls.enabled and the network; 'redis-cli ping' must answer",
        )
    if isinstance(error, exceptions.RedisError) and (code := _code(error)):
        return f"it answers {code}", "look into the server's log and configuration"
    return (
        f"its answer is not understood ({type(error).__name__})",
        "check projects.redis.addr: is it a Redis server, without a proxy that speaks another protocol?",
    )


def _is_tls(error: Exception) -> bool:
    causes = (error, error.__cause__, error.__context__)
    # A file that is missing can only be one of those that TLS needs.
    return any(isinstance(cause, ssl.SSLError | FileNotFoundError | PermissionError) for cause in causes)


def _code(error: Exception) -> str:
    """Return the word in capitals that an answer of Redis begins with, such as READONLY or OOM."""
    if isinstance(error, exceptions.BusyLoadingError):
        return "LOADING"
    if isinstance(error, exceptions.ReadOnlyError):
        return "READONLY"
    if isinstance(error, exceptions.OutOfMemoryError):
        return "OOM"
    if not isinstance(error, exceptions.ResponseError):
        return ""
    found = _CODE.match(str(error))
    return found.group() if found else "an error"
