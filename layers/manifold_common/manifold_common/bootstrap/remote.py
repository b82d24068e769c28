"""A server's projects on a client's machine: without a database, a store or a key service of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from manifold_common.bootstrap.adapters import aws_account
from manifold_common.bootstrap.wiring import limits_of, memory_of
from manifold_common.descriptors import occupy_descriptors
from manifold_common.engine.object_cache import ObjectCache
from manifold_common.engine.workers import Workers
from manifold_common.engine.working_set.location import WorkingSetFolders, WorkspaceMode
from manifold_common.engine.working_set.ram import forbid_core_dumps, prepare_ram_folder
from manifold_common.engine.working_set.working_sets import WorkingSets
from manifold_common.ids import IncarnationId
from manifold_common.services.context import Policy
from manifold_common.services.remote.context import RemoteContext
from manifold_common.services.remote.projects import RemoteProjects
from manifold_common.services.remote.sessions import RemoteSessions
from manifold_common.services.remote.tags import RemoteTags
from manifold_common.services.remote.transfer import RemoteTransfer
from manifold_common.settings import Settings

CACHED_SERVERS = "remote"
"""The folder of the cache below which each server has one of its own. No object's key begins so."""


@dataclass(frozen=True, slots=True)
class RemoteManifold:
    """What a client can do with a server. Close it when done."""

    context: RemoteContext
    projects: RemoteProjects
    tags: RemoteTags
    sessions: RemoteSessions
    transfer: RemoteTransfer
    warnings: list[str]
    """What a user should know, such as a RAM folder that could be swapped out."""

    def close(self) -> None:
        self.context.close()


def connect(settings: Settings, url: str) -> RemoteManifold:
    """Wire the client's side for the server at ``url``. Makes no request.

    Working sets lie in RAM, beside those of a Manifold of this machine, apart from those of other servers. So do copies
    of objects in the cache: what one server gives for an object's key is never taken for another's object of that key.

    Raises:
        ConfigError, RamUnavailable.
    """
    from manifold_common.adapters.remote.network import Network
    from manifold_common.adapters.remote.object_store import LinkedObjects
    from manifold_common.adapters.remote.server import HttpServer
    from manifold_common.adapters.system.clock import SystemClock, SystemRandomness

    clock, randomness = SystemClock(), SystemRandomness()
    workspace = settings.projects.workspace
    occupy_descriptors()
    forbid_core_dumps()
    above = workspace.tmpfs_dir.with_name(workspace.tmpfs_dir.name + "-remote")
    warnings = prepare_ram_folder(above, require_ram=True)
    place = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    folder = above / place
    prepare_ram_folder(folder, require_ram=True)
    sign = None
    if settings.remote.signing == "aws":
        from manifold_common.adapters.remote.aws_signer import AwsSigner

        sign = AwsSigner(settings.remote.region, aws_account(settings.aws))
    network = Network(private_store=settings.remote.private_store)
    cached = workspace.cache_dir / CACHED_SERVERS / place
    folders = WorkingSetFolders(
        WorkspaceMode.EPHEMERAL, settings.workdir, folder, clock=clock, incarnation=IncarnationId("sets")
    )
    context = RemoteContext(
        server=HttpServer(
            url,
            timeout_seconds=settings.remote.timeout_seconds,
            clock=clock,
            randomness=randomness,
            network=network,
            sign=sign,
        ),
        links=LinkedObjects(clock=clock, randomness=randomness, network=network, server_url=url),
        cache=ObjectCache(cached, workspace.cache_max_bytes, clock=clock, randomness=randomness),
        working_sets=WorkingSets(folders, lock_timeout_seconds=Policy().lock_timeout_seconds),
        workers=Workers(),
        clock=clock,
        randomness=randomness,
        limits=limits_of(settings),
        memory=memory_of(settings),
    )
    return RemoteManifold(
        context=context,
        projects=RemoteProjects(context.server),
        tags=RemoteTags(context.server),
        sessions=RemoteSessions(context),
        transfer=RemoteTransfer(context, [*settings.own_folders, above]),
        warnings=warnings,
    )
