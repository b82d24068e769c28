"""Wrapping data keys anew: under the KEK of the settings, in its newest version. The data itself stays as it is.

Order of effects for each key: the copy in the bucket first, then the catalog's row, if that still is as it was read.
Cut off in between, the row still names the old KEK, and the key is wrapped again: so a KEK that no row names is named
in no bucket either, and may be retired. Several may wrap the same key at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from manifold_common.domain.keys import Kek, KeyCursor, KeyRecord, WrappedKey
from manifold_common.errors import ConfigError, ErrorKind, InvalidInput, KeyUnavailable, ManifoldError
from manifold_common.format.key_record import encode_key_record
from manifold_common.format.layout import wrapped_key_key
from manifold_common.ids import DekId, TenantProject
from manifold_common.ports.catalog.keys import Keys
from manifold_common.ports.key_provider import KeyProvider
from manifold_common.services.context import Context

_PAGE = 100
_NAMED = 20
"""Keys in an error's hint."""
_GIVE_UP_AFTER = 5
"""Failures in a row of keys of one provider that is away: the rest would fail as well, each after its time-out."""


class KeyTrouble(NamedTuple):
    """A data key, and what is wrong with it."""

    record: KeyRecord
    error: ManifoldError


class Rewrap:
    def __init__(
        self,
        context: Context,
        providers: Mapping[str, KeyProvider],
        target: KeyProvider | None,
        *,
        existing_key: str | None = None,
    ) -> None:
        """
        Args:
            target: wraps the keys anew; ``None``: new projects are not encrypted.
            existing_key: its key, where that has to be there already.
        """
        self._context = context
        self._providers = providers
        self._target = target
        self._existing_key = existing_key

    def to(self, target: str | None, *, create: bool = False) -> Rewrap:
        """Return what wraps under another KEK than that of the settings.

        Args:
            target: a provider, such as ``file``, or one of its keys: ``vault/manifold-kek-2``. ``None``: that of the
                settings.
            create: it names a key that is made if it is not there.

        Raises:
            InvalidInput: no such provider is configured, no key can be called so, or no key is named, or of a provider
                that makes none, which is to be created.
        """
        if target is None:
            if create:
                raise _no_key_to_create("no key is named that is to be made")
            return self
        name, slash, key = target.partition("/")
        provider = self._providers.get(name)
        if provider is None:
            raise InvalidInput(
                f"the key provider {name[:64]!r} is not configured",
                hint=f"configured: {', '.join(self._providers) or 'none'}; 'manifold config show' has the settings",
                field="params.to",
            )
        if create and not slash:
            raise _no_key_to_create(f"{target[:64]!r} names no key that is to be made")
        if create and provider.own_keys() is None:
            raise _no_key_to_create(f"Manifold makes no keys of the provider {name!r}: they are made in its service")
        if not slash:
            return Rewrap(self._context, self._providers, provider)
        try:
            chosen = provider.with_key(key, create=create)
        except ConfigError as error:
            raise InvalidInput(error.message, hint=error.hint, field="params.to") from None
        return Rewrap(self._context, self._providers, chosen, existing_key=None if create else key)

    def rotate(self) -> Kek:
        """Make a new version of the current KEK, which wraps new data keys from now on. Returns it.

        Raises:
            InvalidInput: new projects are not encrypted. KeyUnavailable: also where the service does not allow it, or
                lacks a version that data keys name.
        """
        kek = self.required_kek()
        self._require_versions_up_to(kek)
        return kek._replace(key_version=self.require_target().rotate())

    def _require_versions_up_to(self, kek: Kek) -> None:
        """Raises KeyUnavailable: the provider has lost what it wrapped with. A new version would take the number, and
        what it wraps would not open any more once the lost one is back."""
        for record in keys_not_under(self._context.catalog, kek):
            wrapped = record.wrapped
            if wrapped.kek[:2] == kek[:2] and wrapped.key_version > kek.key_version:
                raise KeyUnavailable(
                    f"data key {record.dek} of project {record.project} is wrapped under version {wrapped.key_version} "
                    f"of the {kek.provider} key {kek.key_name!r}, of which there "
                    + (f"is only version {kek.key_version}" if kek.key_version else "is none"),
                    hint="bring the master key back from its backup first; 'manifold keys status' has more",
                )

    def made_at(self) -> datetime | None:
        """Return when the KEK was made; ``None``: nobody knows, or there is none. Raises KeyUnavailable."""
        return None if self._target is None else self._target.made_at()

    def require_target(self) -> KeyProvider:
        """Return what wraps the keys anew. Raises InvalidInput: new projects are not encrypted."""
        if self._target is None:
            raise InvalidInput(
                "new projects are not encrypted, so there is no current master key to wrap under",
                hint="set projects.encrypt to true (PROJECTS_ENCRYPT)",
            )
        return self._target

    def require_target_key(self) -> None:
        """Raises InvalidInput: new projects are not encrypted, or the key that was named is not there. KeyUnavailable:
        it cannot be told which keys there are."""
        target = self.require_target()
        known = None if self._existing_key is None else target.own_keys()
        if known is not None and self._existing_key not in known:
            raise InvalidInput(
                f"the key provider {target.name!r} has no key {self._existing_key!r}",
                hint=f"there {'is' if len(known) == 1 else 'are'}: {_listed(known)}; to have a new one made, add "
                "--create, or 'create': true to the params of a job",
                field="params.to",
            )

    def required_kek(self) -> Kek:
        """As ``kek``. Raises InvalidInput: there is none."""
        return _kek_of(self.require_target())

    def requests(self, record: KeyRecord) -> Counter[str]:
        """Return how many requests wrapping a key anew takes, by provider."""
        target, source = self._target, self._providers.get(record.wrapped.provider)
        if target is None:
            return Counter()
        if target.name == record.wrapped.provider and target.stays_inside(record.wrapped):
            return Counter({target.name: target.requests.rewrap})
        found = Counter({target.name: target.requests.wrap})
        if source is not None:
            found[source.name] += source.requests.unwrap
        return found

    def kek(self) -> Kek | None:
        """Return the key under which new data keys are wrapped; ``None``: new projects are not encrypted.

        Raises:
            KeyUnavailable: its provider does not answer.
        """
        return None if self._target is None else _kek_of(self._target)

    def pending(self, *, only: TenantProject | None = None) -> Iterator[KeyRecord]:
        """Yield what is not under the current key. Raises KeyUnavailable, CatalogUnavailable."""
        kek = self.kek()
        return iter(()) if kek is None else keys_not_under(self._context.catalog, kek, only=only)

    def rewrap(self, record: KeyRecord) -> None:
        """Wrap a key anew.

        Raises:
            KeyUnavailable: its provider or the current one is away, or does not know it. CorruptObject: it cannot be
                opened. StoreUnavailable, CatalogUnavailable.
        """
        context, keys, target = self._context, self._context.keys, self.require_target()
        if record.wrapped.provider == target.name:
            wrapped = target.rewrap(record.wrapped, record.context)
        else:
            wrapped = keys.wrap_anew(record, target)
        self._store(record, wrapped)
        stands = context.catalog.replace_wrapped_key(record, wrapped)
        if stands is not None and stands != wrapped:
            self._store(record, stands)  # another one was faster, perhaps under a newer KEK
        keys.forget(record.tenant, record.project)

    def _store(self, record: KeyRecord, wrapped: WrappedKey) -> None:
        name = wrapped_key_key(record.tenant, record.project, record.dek)
        self._context.store.put(name, encode_key_record(replace(record, wrapped=wrapped)))


def _no_key_to_create(message: str) -> InvalidInput:
    return InvalidInput(message, hint="name a key of the provider 'file', as in --to file/KEY", field="params.create")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return (", ".join(names[:_NAMED]) or "none") + more


def _kek_of(provider: KeyProvider) -> Kek:
    facts = provider.describe()
    version = facts["key_version"]
    # Where it has no version yet, 0, which no record names.
    return Kek(provider.name, facts["key_name"], int(version) if version.isdecimal() else 0)


class Gate:
    """Lets no more than a few keys wait for a provider that is away."""

    def __init__(self) -> None:
        self._away: Counter[str] = Counter()
        self._last: dict[str, ManifoldError] = {}
        """How each failed that was away."""

    @contextmanager
    def passing(self, record: KeyRecord) -> Iterator[None]:
        """Raises KeyUnavailable: its provider was away for those before."""
        name = record.wrapped.provider
        if self._away[name] >= _GIVE_UP_AFTER:
            last = self._last[name]
            raise KeyUnavailable(f"not tried, since for those before it: {last.message}", hint=last.hint)
        try:
            yield
        except ManifoldError as error:
            self._away[name] += error.kind is ErrorKind.UNAVAILABLE
            self._last[name] = error
            raise
        self._away[name] = 0


def keys_not_under(
    catalog: Keys, kek: Kek, *, after: KeyCursor | None = None, only: TenantProject | None = None
) -> Iterator[KeyRecord]:
    """Yield data keys under another KEK, in order, of one project or of all. Raises CatalogUnavailable."""
    if only is not None and after is None:
        after = (*only, DekId(""))
    while True:
        page = catalog.keys_not_under(kek, after=after, limit=_PAGE)
        for record in page:
            if only not in (None, (record.tenant, record.project)):
                return
            yield record
        if len(page) < _PAGE:
            return
        after = (page[-1].tenant, page[-1].project, page[-1].dek)
