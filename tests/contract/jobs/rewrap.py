from __future__ import annotations

from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.format.key_record import decode_key_record
from manifold_common.format.layout import wrapped_key_key

from tests.contract.jobs.scene import Base, Scene


def scene(base: Base) -> Scene:
    manifold = base.make()
    projects = [manifold.projects.create(LOCAL_PRINCIPAL, f"project {number}").id for number in range(3)]
    manifold.projects.delete(LOCAL_PRINCIPAL, projects[2])
    provider = manifold.providers["file"]
    assert isinstance(provider, FileKeyProvider)
    provider.rotate()
    names = [record.context[:3] for record in manifold.rewrap.pending()]

    def is_done() -> bool:
        fresh = base.make()
        records = fresh.context.catalog.find_keys(names)
        for record in records:
            stored = fresh.context.store.get(wrapped_key_key(*record.context[:3]), max_bytes=1 << 16)
            assert decode_key_record(stored, *record.context[:3]).wrapped.kek in (
                record.wrapped.kek,
                fresh.rewrap.kek(),
            )
            fresh.context.keys.unwrap(record)
        return [record.wrapped.kek for record in records] == [fresh.rewrap.kek()] * 3

    return Scene(manifold, len(projects), is_done)
