"""Data keys: unwrapped once, kept in memory for a while, handed out as sealers and openers.

Which key writes is decided by what was unwrapped, never by the order of rows: the one key of the highest epoch. A
project without encryption has a record too (provider ``none``): it holds the chunk-id key, and PLAIN stands for its
DEK. Where such a project, or one whose highest epoch is shared by several keys, is about to be written to by a
deployment that encrypts, a new epoch is begun first (``services/keys/sealing.py``). Encryption belongs to the project:
once it has a sealed key, a deployment that does not encrypt new projects writes sealed as well.

In a project that has a sealed key, an unsealed object is refused, except for what that key itself vouches for
(``PlainPast``) and for blocks, whose reader holds every chunk against its id.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from manifold_common.domain.keys import NO_PROVIDER, KeyContext, KeyRecord, WrappedKey
from manifold_common.errors import CorruptObject, InternalError, KeyUnavailable
from manifold_common.format.chunker import ID_KEY_BYTES, Chunker
from manifold_common.format.key_record import NO_PAST, KeyMaterial, PlainPast, pack_material, unpack_material
from manifold_common.format.layout import project_prefix
from manifold_common.format.sealed import DEK_BYTES, ObjectKind, Opener, Seal, Sealer, derive_object_key
from manifold_common.ids import PLAIN, DekId, ProjectId, TenantId, TenantProject, encode_id
from manifold_common.ports.catalog import encrypted_meanwhile
from manifold_common.ports.catalog.keys import Keys
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.key_provider import KeyProvider

_BLOCK_KINDS = (ObjectKind.PACK, ObjectKind.COMMIT)


class ProjectKeys:
    """The keys of one project, as this process has them. Safe for threads."""

    def __init__(
        self, tenant: TenantId, project: ProjectId, records: Sequence[KeyRecord], source: DataKeys, *, known: bool
    ) -> None:
        """``known``: the catalog has the project, and can be asked for keys that came later."""
        self.tenant, self.project = tenant, project
        self._source = source
        self._known = known
        self._records: dict[DekId, KeyRecord] = {}
        self._materials: dict[DekId, KeyMaterial] = {}
        self._strangers: set[DekId] = set()
        self._lock = threading.Lock()
        self._choosing = threading.RLock()
        self._write_dek: DekId | None = None
        self._take(records)
        self.chunker = Chunker(self.id_key)

    # --- what there is ----------------------------------------------------------------------------------------------

    @property
    def id_key(self) -> bytearray:
        return self._material(self._leading.dek).id_key

    @property
    def past(self) -> PlainPast | None:
        """What of the project may be unsealed; ``None``: it is not encrypted, so all of it may."""
        leading = self._leading
        return None if leading.dek == PLAIN else self._material(leading.dek).past

    def trusts(self, dek: DekId) -> bool:
        return dek != PLAIN or self._leading.dek == PLAIN

    def keeps(self, dek: DekId) -> bool:
        """See ``Openers.keeps``: where nothing is encrypted anyway."""
        return dek != PLAIN or (self.trusts(PLAIN) and not self._source.encrypts)

    @property
    def _leading(self) -> KeyRecord:
        """The record that says most: a sealed one before PLAIN's, and the highest epoch. A row that lies about its
        epoch does not unwrap."""
        return max(self._records.values(), key=lambda record: (record.dek != PLAIN, record.epoch, record.dek))

    def _take(self, records: Sequence[KeyRecord]) -> None:
        if not records:
            folder = f"{project_prefix(self.tenant, self.project)}/keys"
            raise CorruptObject(folder, "the catalog has no key of the project")
        with self._lock:
            standing = self._records
            self._records = {record.dek: record for record in records}
            for dek in [dek for dek in self._materials if standing.get(dek) != self._records.get(dek)]:
                del self._materials[dek]
            self._write_dek = None

    def reload(self) -> None:
        """Look for keys that were made since. Raises NotFound: the project is gone."""
        if self._known:
            self._take(self._source.records(self.tenant, self.project))

    # --- the key to write with --------------------------------------------------------------------------------------

    @property
    def write_dek(self) -> DekId:
        """The key that new objects name. Asking for it begins the project's encryption, where that is due.

        Raises:
            CorruptObject: a record of the project is forged or damaged. KeyUnavailable: it cannot be told.
        """
        found = self._write_dek
        if found is None:
            with self._choosing:
                found = self._write_dek or self._choose()
                self._write_dek = found
        return found

    def leaders(self) -> list[KeyRecord]:
        """Return the sealed records of the highest epoch, after unwrapping every sealed one: a row that was set back to
        a lower epoch, to let an older key write, is found out here."""
        sealed = [record for record in list(self._records.values()) if record.dek != PLAIN]
        id_keys = {bytes(self._material(record.dek).id_key) for record in sealed}
        if len(id_keys) > 1:
            folder = f"{project_prefix(self.tenant, self.project)}/keys"
            raise CorruptObject(folder, "its records hold different chunk-id keys")
        highest = max((record.epoch for record in sealed), default=0)
        return [record for record in sealed if record.epoch == highest]

    @property
    def next_epoch(self) -> int:
        return max(record.epoch for record in self._records.values()) + 1

    def _choose(self) -> DekId:
        leaders = self.leaders()
        if not leaders and not self._source.encrypts:
            return PLAIN
        if len(leaders) != 1:
            self._source.begin(self)
            leaders = self.leaders()
            if len(leaders) != 1:
                raise InternalError(f"project {self.project} has begun a new key epoch with {len(leaders)} keys")
        return leaders[0].dek

    # --- sealing and opening ----------------------------------------------------------------------------------------

    def are_from(self, provider: str) -> bool:
        """Tell whether ``provider`` wrapped one of them."""
        return any(record.wrapped.provider == provider for record in self._records.values())

    def sealer(self, seal: Seal) -> Sealer:
        """Raises KeyUnavailable: the seal names no key, and the project has been encrypted meanwhile."""
        if seal.dek == PLAIN and self.write_dek != PLAIN:
            raise encrypted_meanwhile(self.project)
        return Sealer(seal, self._material(seal.dek).dek)

    def opener(self, seal: Seal) -> Opener:
        """Raises CorruptObject when the object names a key that this project never had, or none though the project is
        encrypted."""
        self._refuse_plain(seal)
        return Opener(seal, self._material(seal.dek, seal.key).dek)

    def old_opener(self, seal: Seal) -> Opener:
        """Like ``opener``, for what may have been stored before the project was encrypted. The caller holds it against
        ``past``."""
        return Opener(seal, self._material(seal.dek, seal.key).dek)

    def block_opener(self, seal: Seal) -> Opener:
        """Like ``opener``, for a container of blocks. The caller holds the chunks of one that is not
        trusted against their ids."""
        return Opener(seal, self._material(seal.dek, seal.key).dek)

    def object_key(self, seal: Seal) -> bytes:
        """Return the key that opens one object, and no other. Raises CorruptObject as ``opener``.

        ``b""`` for an unsealed one, whose blocks whoever is given it has to prove.
        """
        if seal.kind not in _BLOCK_KINDS:
            self._refuse_plain(seal)
        return derive_object_key(self._material(seal.dek, seal.key).dek, seal)

    def _refuse_plain(self, seal: Seal) -> None:
        if not self.trusts(seal.dek):
            raise unencrypted(seal.key)

    def _material(self, dek: DekId, object_name: str = "") -> KeyMaterial:
        material = self._materials.get(dek)
        if material is None:
            record = self._record(dek, object_name)
            with self._lock:
                material = self._materials.get(dek) or self._source.unwrap(record)
                self._materials[dek] = material
        return material

    def _record(self, dek: DekId, object_name: str) -> KeyRecord:
        record = self._records.get(dek)
        if record is None and dek not in self._strangers:
            self.reload()  # another node may have begun a new epoch
            record = self._records.get(dek)
        if record is None:
            self._strangers.add(dek)
            raise CorruptObject(object_name, f"it names the data key {dek}, which its project does not have")
        return record


class DataKeys:
    """Makes and finds the keys of projects.

    Args:
        providers: every provider that can open records, by name.
        current: the provider that wraps new keys, or ``None`` when new projects are not encrypted.
        ttl_seconds: how long unwrapped keys stay in memory.
    """

    def __init__(
        self,
        catalog: Keys,
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
        self._cached: dict[TenantProject, tuple[float, ProjectKeys]] = {}
        self._introduced: dict[TenantProject, ProjectKeys] = {}
        self._lock = threading.Lock()
        self.begin: Callable[[ProjectKeys], None] = _cannot_begin
        """Begins a new epoch of a project, with one key. Set once, when everything that takes is there."""

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
            NotFound: no such project. KeyUnavailable: its key provider is not to be had. CorruptObject: its records are
            forged or damaged.
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
        keys = ProjectKeys(tenant, project, self.records(tenant, project), self, known=True)
        with self._lock:
            self._cached[(tenant, project)] = (now + self._ttl_seconds, keys)
        return keys

    def records(self, tenant: TenantId, project: ProjectId) -> list[KeyRecord]:
        """Return what the catalog has. Raises NotFound."""
        return self._catalog.project_keys(tenant, project)

    def of_records(self, records: Sequence[KeyRecord]) -> ProjectKeys:
        """Return the keys of a project by its records, which the catalog may not show: it does not have all of them
        yet, or the project was deleted."""
        return ProjectKeys(records[0].tenant, records[0].project, records, self, known=False)

    @contextmanager
    def introduced(self, records: Sequence[KeyRecord]) -> Iterator[None]:
        """While this lasts, ``of`` answers for a project that the catalog does not have yet.

        Args:
            records: the keys the project will have.
        """
        owner = (records[0].tenant, records[0].project)
        with self._lock:
            self._introduced[owner] = self.of_records(records)
        try:
            yield
        finally:
            with self._lock:
                del self._introduced[owner]

    def forget(self, tenant: TenantId, project: ProjectId) -> None:
        """Drop what is in memory; the next use reads the catalog again."""
        with self._lock:
            self._cached.pop((tenant, project), None)

    @contextmanager
    def writing(self, tenant: TenantId, project: ProjectId) -> Iterator[None]:
        """Where the catalog refuses what is written within, since the project was encrypted meanwhile, the next try is
        made with the new key."""
        try:
            yield
        except KeyUnavailable:
            self.forget(tenant, project)
            raise

    def make(self, tenant: TenantId, project: ProjectId) -> KeyRecord:
        """Return the first key of a new project, wrapped."""
        id_key = self._randomness.token(ID_KEY_BYTES)
        if self._current is None:
            return self._wrap(KeyContext(tenant, project, PLAIN), KeyMaterial(id_key, None), NO_PROVIDER)
        return self._wrap(KeyContext(tenant, project, self._new_dek()), self._new_material(id_key), self._current)

    def make_next(self, keys: ProjectKeys, project: ProjectId, past: PlainPast = NO_PAST) -> KeyRecord:
        """Return a key for ``project`` that comes after all of ``keys`` and keeps the chunk ids as they are.

        Where neither the deployment encrypts nor one of ``keys`` is sealed, that is the plain one.
        """
        provider = self._current
        for record in keys.leaders():
            provider = provider or record.wrapped.provider
        if provider is None:
            material = KeyMaterial(keys.id_key, None)
            return self._wrap(KeyContext(keys.tenant, project, PLAIN), material, NO_PROVIDER)
        context = KeyContext(keys.tenant, project, self._new_dek(), keys.next_epoch)
        return self._wrap(context, self._new_material(bytes(keys.id_key), past), provider)

    def adopt(self, record: KeyRecord, project: ProjectId) -> KeyRecord:
        """Return the same key, wrapped for another project of the tenant, which thereby can read what it sealed."""
        found = self.unwrap(record)
        material = KeyMaterial(found.id_key, found.dek)  # what the one project has stored unsealed, the other has not
        context = record.context._replace(project=project)
        provider = NO_PROVIDER if record.dek == PLAIN else self._current or record.wrapped.provider
        return self._wrap(context, material, provider)

    def wrap_anew(self, record: KeyRecord, provider: KeyProvider) -> WrappedKey:
        """Return the same key, wrapped by ``provider``, whichever wrapped it before.

        Raises:
            InternalError: it is no key that anything is sealed with.
        """
        if record.dek == PLAIN:
            raise InternalError(f"project {record.project} has nothing to be wrapped")
        return provider.wrap(pack_material(self.unwrap(record), record.epoch), record.context)

    def unwrap(self, record: KeyRecord) -> KeyMaterial:
        wrapped = record.wrapped
        if (wrapped.provider == NO_PROVIDER) != (record.dek == PLAIN):
            raise CorruptObject(
                f"{project_prefix(record.tenant, record.project)}/keys/{record.dek}",
                "it is the record of a data key, but holds it unwrapped"
                if wrapped.provider == NO_PROVIDER
                else "it stands for no data key, but names a key provider",
                hint="somebody may have changed it: restore the project's rows of project_keys from a backup",
            )
        if wrapped.provider == NO_PROVIDER:
            return unpack_material(wrapped.ciphertext, record)
        return unpack_material(self._provider(record).unwrap(wrapped, record.context), record)

    def _provider(self, record: KeyRecord) -> KeyProvider:
        name = record.wrapped.provider
        provider = self._providers.get(name)
        if provider is None:
            raise KeyUnavailable(
                f"data key {record.dek} of project {record.project} is wrapped by the provider "
                f"'{name}', which is not configured",
                hint=f"set projects.encryption.provider to {name}, or configure it beside the current one",
            )
        return provider

    def _new_dek(self) -> DekId:
        return DekId(encode_id(self._randomness.token(16)))

    def _new_material(self, id_key: bytes, past: PlainPast = NO_PAST) -> KeyMaterial:
        return KeyMaterial(id_key, self._randomness.token(DEK_BYTES), past)

    def _wrap(self, context: KeyContext, material: KeyMaterial, provider: str) -> KeyRecord:
        packed = pack_material(material, context.epoch)
        if (provider == NO_PROVIDER) != (context.dek == PLAIN):
            raise InternalError(f"data key {context.dek} is not for the provider {provider!r}")
        if provider == NO_PROVIDER:
            wrapped = WrappedKey(NO_PROVIDER, "", 0, packed)
        else:
            wrapped = self._providers[provider].wrap(packed, context)
        return KeyRecord(context.tenant, context.project, context.dek, wrapped, self._clock.now(), context.epoch)


def unencrypted(name: str) -> CorruptObject:
    """Return the error for an object that is not sealed, of a project that is encrypted."""
    return CorruptObject(
        name,
        "it is not encrypted, though its project is",
        hint="somebody may have put it there; restore the object, or the project's rows, from a backup",
    )


def _cannot_begin(keys: ProjectKeys) -> None:
    raise InternalError(f"project {keys.project} cannot be encrypted here")
