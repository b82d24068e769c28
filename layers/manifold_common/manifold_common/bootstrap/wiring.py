"""From settings and adapters to the context that all services work with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from manifold_common.bootstrap.adapters import (
    build_catalog,
    build_generation_cache,
    build_key_providers,
)
from manifold_common.bootstrap.services import Manifold
from manifold_common.bootstrap.stores import build_links, build_served_store, build_store, place_of_store
from manifold_common.descriptors import occupy_descriptors
from manifold_common.domain.installation import Standing
from manifold_common.domain.quota import Limits
from manifold_common.engine.commit_writer import CommitWriter
from manifold_common.engine.data_keys import DataKeys
from manifold_common.engine.memory import Memory
from manifold_common.engine.object_cache import ObjectCache
from manifold_common.engine.objects import SealedObjects
from manifold_common.engine.tree_log import TreeLog
from manifold_common.engine.workers import Workers
from manifold_common.engine.working_set.location import WorkingSetFolders, WorkspaceMode
from manifold_common.engine.working_set.ram import (
    forbid_core_dumps,
    is_memory,
    memory_bytes,
    mount_of,
    prepare_ram_folder,
    total_bytes,
)
from manifold_common.engine.working_set.working_sets import WorkingSets
from manifold_common.ports.generation_cache import NoGenerationCache
from manifold_common.services.context import Context, Policy
from manifold_common.services.keys.sealing import Sealing
from manifold_common.services.upkeep.installation import IN_WORKDIR, Home, Installations

if TYPE_CHECKING:
    from manifold_common.engine.working_set.owner import Owner
    from manifold_common.ports.catalog import Catalog
    from manifold_common.ports.clock import Clock, Randomness
    from manifold_common.ports.generation_cache import GenerationCache
    from manifold_common.ports.key_provider import KeyProvider
    from manifold_common.ports.object_links import ObjectLinks
    from manifold_common.ports.object_store import ObjectStore
    from manifold_common.ports.served_store import ServedStore
    from manifold_common.ports.work_queue import WorkQueue
    from manifold_common.settings import Settings


def home_of(settings: Settings) -> Home:
    """Return where an installation with these settings has what belongs to it."""
    place, workdir = place_of_store(settings), settings.workdir.resolve()
    if isinstance(place, Path):
        place = place.resolve()
        place = IN_WORKDIR if place.is_relative_to(workdir) else str(place)
    return Home(
        settings.workdir,
        place,
        holds_database=settings.database_url is None,
        lasts=settings.functions.name is None,
    )


def build(
    settings: Settings,
    dsn: str,
    *,
    function: str | None = None,
    work_queues: Mapping[str, WorkQueue] | None = None,
) -> Manifold:
    """Wire everything for one process.

    Args:
        dsn: of the catalog: ``settings.database_url``, or that of an embedded server.
        function: the function whose process this is, which may not hold all secrets.
        work_queues: as ``assemble``.

    Raises:
        ConfigError, RamUnavailable, SchemaMismatch, StoreUnavailable, CatalogUnavailable.
    """
    from manifold_common.adapters.system.clock import SystemClock, SystemRandomness

    clock, randomness = SystemClock(), SystemRandomness()
    return assemble(
        settings,
        store=build_store(settings, clock, randomness),
        providers=build_key_providers(settings, clock, randomness, function=function),
        generations=build_generation_cache(settings, clock, randomness),
        links=build_links(settings, clock),
        served=build_served_store(settings, clock, randomness),
        catalog=build_catalog(settings, dsn, clock),  # last, since it connects: what the settings lack is found before
        clock=clock,
        randomness=randomness,
        work_queues=work_queues,
    )


def assemble(
    settings: Settings,
    *,
    catalog: Catalog,
    store: ObjectStore,
    providers: dict[str, KeyProvider],
    clock: Clock,
    randomness: Randomness,
    generations: GenerationCache | None = None,
    links: ObjectLinks | None = None,
    served: ServedStore | None = None,
    standing: Standing | None = None,
    work_queues: Mapping[str, WorkQueue] | None = None,
) -> Manifold:
    """Wire the services over given adapters.

    Args:
        standing: what is known of the installation already; ``None``: it is looked at.
        work_queues: what wakes functions that work on jobs, by the function.
    """
    projects_settings = settings.projects
    workspace, encryption = projects_settings.workspace, projects_settings.encryption
    events = projects_settings.events
    from manifold_common.adapters.wrappers.read_only import read_only_catalog, read_only_store

    occupy_descriptors()
    forbid_core_dumps()
    mode = WorkspaceMode(workspace.mode)
    warnings: list[str] = []
    on_lambda = settings.functions.name is not None
    if mode is WorkspaceMode.EPHEMERAL:
        warnings += prepare_ram_folder(workspace.tmpfs_dir, require_ram=projects_settings.encrypt and not on_lambda)
        if warnings and on_lambda:
            warnings = [f"{warnings[0]}; it is the function's ephemeral storage, which Lambda encrypts and throws away"]
    in_ram = mode is WorkspaceMode.EPHEMERAL and (on_lambda or is_memory(mount_of(workspace.tmpfs_dir)))
    policy = Policy(
        limits=limits_of(settings),
        session_ttl_seconds=workspace.ttl_seconds,
        deleted_project_grace=timedelta(days=projects_settings.retention.deleted_project_days),
        plaintext_in_ram=in_ram,
        listed_paths=events.max_paths if events.include_paths or not projects_settings.encrypt else None,
        lists_encrypted_paths=events.include_paths,
    )
    # A working folder on disk holds plaintext anyway: there the cache would only cost space.
    cache_bytes = workspace.cache_max_bytes if mode is WorkspaceMode.EPHEMERAL else 0
    if on_lambda:
        cache_bytes = min(cache_bytes, total_bytes(workspace.tmpfs_dir) // 2)  # the other half is for working sets
    cache = ObjectCache(workspace.cache_dir, cache_bytes, clock=clock, randomness=randomness)
    installations = Installations(catalog, home_of(settings), randomness)
    standing = standing or installations.look()
    if standing.doubt is not None:
        catalog, store = read_only_catalog(catalog, standing.admit), read_only_store(store, standing.admit)
        warnings.append(standing.doubt)
    keys_from = encryption.provider if projects_settings.encrypt else None
    keys = DataKeys(
        catalog,
        providers,
        keys_from,
        clock=clock,
        randomness=randomness,
        ttl_seconds=encryption.dek_cache_seconds,
    )
    workers = Workers()
    objects = SealedObjects(store, cache)
    context = Context(
        catalog=catalog,
        keys=keys,
        store=store,
        objects=objects,
        log=TreeLog(catalog, keys, objects, workers, memory=memory_of(settings)),
        writer=CommitWriter(keys, objects, clock, randomness),
        workers=workers,
        clock=clock,
        randomness=randomness,
        policy=policy,
        generations=generations or NoGenerationCache(),
        node=standing.node,
    )
    keys.begin = Sealing(context).begin
    folders = WorkingSetFolders(
        mode,
        settings.workdir,
        workspace.tmpfs_dir,
        clock=clock,
        incarnation=standing.incarnation,
        admit=standing.admit,
    )
    if mode is WorkspaceMode.EPHEMERAL and (aside := len(folders.retired.aside())):
        warnings.append(f"working sets are set aside: {aside}; 'manifold leftovers list' shows them")
    made = Manifold(
        settings,
        context,
        WorkingSets(
            folders,
            lock_timeout_seconds=policy.lock_timeout_seconds,
            was_ended=lambda owner: catalog.was_ended(owner.tenant, owner.user, owner.session, owner.opened_at),
            is_open=lambda owner: _is_open(catalog, owner),
            holds_work=lambda left: made.relocation.has_own_changes(left),
        ),
        standing,
        installations,
        providers=providers,
        links=links,
        served=served,
        work_queues=work_queues or {},
        listens=generations is not None,
        caches=cache_bytes > 0,
        warnings=warnings,
    )
    return made


def _is_open(catalog: Catalog, owner: Owner) -> bool:
    view = catalog.view_session(owner.tenant, owner.user, owner.session)
    return view is not None and (view.session.project, view.session.created_at) == (owner.project, owner.opened_at)


def memory_of(settings: Settings) -> Memory:
    """Return how much memory reading trees may take: as set, or half of what this process has."""
    limit = settings.projects.tree_memory_bytes
    if not limit and settings.functions.memory_mib is not None:
        limit = settings.functions.memory_mib << 19
    return Memory(limit or memory_bytes() // 2)


def limits_of(settings: Settings) -> Limits:
    quotas = settings.projects.quotas
    return Limits(
        max_project_bytes=quotas.max_project_bytes,
        max_files=quotas.max_files,
        max_file_bytes=quotas.max_file_bytes,
        max_session_ram_bytes=quotas.max_session_ram_bytes,
    )
