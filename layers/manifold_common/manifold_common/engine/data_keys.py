"""Data keys: unwrapped once, kept in memory for a while, handed out as sealers and openers.

A project's newest key writes; every key it ever had reads. A project without encryption has a record too (provider
``none``): it holds the chunk-id key, and PLAIN stands for its DEK.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from manifold_common.domain.keys import NO_PROVIDER, KeyContext, KeyRecord, WrappedKey
from manifold_common.errors import CorruptObject, KeyUnavailable
from manifold_common.format.chunker import ID_KEY_BYTES, Chunker
from manifold_common.format.key_record import KeyMaterial, pack_material, unpack_material
from manifold_common.format.sealed import DEK_BYTES, Opener, Seal, Sealer, derive_object_key
from manifold_common.ids import PLAIN, DekId, ProjectId, TenantId, encode_id
from manifold_common.ports.catalog import Catalog
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.key_provider import KeyProvider


class ProjectKeys:
    """The keys of one project, as this process has them."""

    def __init__(self, records: list[KeyRecord], unwrap: DataKeys) -> None:
        self._records = {record.dek: record for record in records}
        self._unwrap = unwrap
        self._materials: dict[DekId, KeyMaterial] = {}
        self._lock = threading.Lock()
        self.write_dek = records[0].dek
        self.chunker = Chunker(self.id_key)

    @property
    def id_key(self) -> bytearray:
        return self._material(self.write_dek).id_key

    def are_from(self, provider: str) -> bool:
        """Tell whether ``provider`` wrapped one of them."""
        return any(record.wrapped.provider == provider for record in self._records.values())

    def sealer(self, seal: Seal) -> Sealer:
        return Sealer(seal, self._material(seal.dek).dek)

    def opener(self, seal: Seal) -> Opener:
        """Raises CorruptObject when the object names a key that this project never had.

        PLAIN counts as a key: an unsealed object in a project that was always encrypted is refused.
        """
        return Opener(seal, self._material(seal.dek, seal.key).dek)

    def object_key(self, seal: Seal) -> bytes:
        """Return the key that opens one object, and no other. Raises CorruptObject as ``opener``."""
        return derive_object_key(self._material(seal.dek, seal.key).dek, seal)

    def _material(self, dek: DekId, object_name: str = "") -> KeyMaterial:
        material = self._materials.get(dek)
        if material is None:
            record = self._records.get(dek)
            if record is None:
                raise CorruptObject(object_name, f"it names the data key {dek}, which its project does not have")
            with self._lock:
                material = self._materials.get(dek) or self._unwrap.unwrap(record)
                self._materials[dek] = material
        return material


class DataKeys:
    """Makes and finds the keys of projects.

    Args:
        providers: every provider that can open records, by name.
        current: the provider that wraps new keys, or ``None`` when new projects are not encrypted.
        ttl_seconds: how long unwrapped keys stay in memory.
    """

    def __init__(
        self,
        catalog: Catalog,
        providers: Mapping[str, KeyProvider],
        current: str | None,
        *,
        clock: Clock,
        randomness: Randomness,
        ttl_seconds: float,
    ) -> None:
        self._catalog = catalog
        self._providers = dict(providers)
        self._current = current
        self._clock = clock
        self._randomness = randomness
        self._ttl_seconds = ttl_seconds
        self._cached: dict[tuple[TenantId, ProjectId], tuple[float, ProjectKeys]] = {}
        self._introduced: dict[tuple[TenantId, ProjectId], ProjectKeys] = {}
        self._lock = threading.Lock()

    @property
    def encrypts(self) -> bool:
        return self._current is not None

    def in_memory(self, provider: str) -> tuple[int, float, float]:
        """Return of how many projects a key that ``provider`` wrapped is in memory, and for how many seconds yet the
        first and the last of them."""
        now = self._clock.monotonic()
        with self._lock:
            left = [until - now for until, keys in self._cached.values() if until > now and keys.are_from(provider)]
        return len(left), min(left, default=0.0), max(left, default=0.0)

    def of(self, tenant: TenantId, project: ProjectId) -> ProjectKeys:
        """Return the project's keys.

        Raises:
            NotFound: no such project. KeyUnavailable: its key provider is not to be had.
        """
        now = self._clock.monotonic()
        with self._lock:
            for owner in [owner for owner, (until, _) in self._cached.items() if until <= now]:
                del self._cached[owner]
            found = self._cached.get((tenant, project))
            introduced = self._introduced.get((tenant, project))
        if introduced is not None:
            return introduced
        if found is not None:
            return found[1]
        keys = ProjectKeys(self._catalog.project_keys(tenant, project), self)
        with self._lock:
            self._cached[(tenant, project)] = (now + self._ttl_seconds, keys)
        return keys

    @contextmanager
    def introduced(self, records: Sequence[KeyRecord]) -> Iterator[None]:
        """While this lasts, ``of`` answers for a project that the catalog does not have yet.

        Args:
            records: the keys the project will have, oldest first.
        """
        owner = (records[0].tenant, records[0].project)
        with self._lock:
            self._introduced[owner] = ProjectKeys(list(reversed(records)), self)
        try:
            yield
        finally:
            with self._lock:
                del self._introduced[owner]

    def forget(self, tenant: TenantId, project: ProjectId) -> None:
        """Drop what is in memory; the next use reads the catalog again."""
        with self._lock:
            self._cached.pop((tenant, project), None)

    def make(self, tenant: TenantId, project: ProjectId, id_key: bytes | None = None) -> KeyRecord:
        """Return a new key for the project, wrapped; with ``id_key``, one that keeps the chunk ids as they are."""
        encrypted = self._current is not None
        dek = DekId(encode_id(self._randomness.token(16))) if encrypted else PLAIN
        material = KeyMaterial(
            id_key or self._randomness.token(ID_KEY_BYTES), self._randomness.token(DEK_BYTES) if encrypted else None
        )
        return self._wrap(KeyContext(tenant, project, dek), material)

    def adopt(self, record: KeyRecord, project: ProjectId) -> KeyRecord:
        """Return the same key, wrapped for another project of the tenant, which thereby can read what it sealed."""
        return self._wrap(KeyContext(record.tenant, project, record.dek), self.unwrap(record))

    def wrap_anew(self, record: KeyRecord) -> WrappedKey:
        """Return the same key, wrapped by the current provider, whichever wrapped it before."""
        return self._wrap(record.context, self.unwrap(record)).wrapped

    def unwrap(self, record: KeyRecord) -> KeyMaterial:
        wrapped = record.wrapped
        if wrapped.provider == NO_PROVIDER:
            return unpack_material(wrapped.ciphertext, record)
        provider = self._providers.get(wrapped.provider)
        if provider is None:
            raise KeyUnavailable(
                f"data key {record.dek} of project {record.project} is wrapped by the provider "
                f"'{wrapped.provider}', which is not configured",
                hint=f"set projects.encryption.provider to {wrapped.provider}, or configure it beside the current one",
            )
        return unpack_material(provider.unwrap(wrapped, record.context), record)

    def _wrap(self, context: KeyContext, material: KeyMaterial) -> KeyRecord:
        if context.dek == PLAIN or self._current is None:
            wrapped = WrappedKey(NO_PROVIDER, "", 0, pack_material(material))
        else:
            wrapped = self._providers[self._current].wrap(pack_material(material), context)
        return KeyRecord(context.tenant, context.project, context.dek, wrapped, self._clock.now())
