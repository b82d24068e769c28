"""What a client has uploaded, read back and held against everything that it says.

Nothing in a draft is believed. Each pack and each block of the draft's own must open under the key of its slot, each
chunk must have the bytes that its id names, and the draft may refer to the packs that were given out for it and to what
its base refers to, and to nothing else. Where the base has a chunk already, its place counts and not the draft's.

What was found to be true is kept as what was looked at: a pack's proof is a digest of each chunk id at each place that
was read back. A draft that says anything else of that pack makes a claim that nobody has checked: it is read anew.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from blake3 import blake3

from manifold_common.domain.access import Principal
from manifold_common.domain.paths import to_display
from manifold_common.domain.tree import FILE, misfit
from manifold_common.domain.wording import plural
from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.engine.pack_writer import INLINE_BYTES, NewContent
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import BadUpload, CorruptObject, ObjectNotFound
from manifold_common.format.commit_object import ReadCommit, read_commit
from manifold_common.format.pack import PACK_TARGET_BYTES
from manifold_common.format.places import MAX_BLOCK_RAW_BYTES, Block, Container, Places
from manifold_common.format.sealed import FRAME_OVERHEAD_BYTES, HEADER_BYTES, ObjectKind, Opener, Payload
from manifold_common.ids import PLAIN, ChunkId, CommitId, Generation, SessionId
from manifold_common.ports.catalog import Upload
from manifold_common.ports.object_store import Buffer
from manifold_common.services.context import Context
from manifold_common.shapes.access import UploadReceipt

MAX_PACK_BYTES = PACK_TARGET_BYTES + MAX_BLOCK_RAW_BYTES + HEADER_BYTES + 2 * FRAME_OVERHEAD_BYTES
MAX_DRAFT_BYTES = 256 << 20
MAX_CHECKED_BYTES = 512 << 20
"""Of packs that are checked at once."""
UPLOAD_KEPT = timedelta(hours=24)
"""From when a slot was given out, its bytes were proven, or something was about to refer to them."""
_MAX_INLINE_RAW_BYTES = 64 << 20
_BLOCK = struct.Struct("<IQIII")
_PART = struct.Struct("<32sII")

Part = tuple[ChunkId, int, int]
"""A chunk in a block's raw bytes: id, offset, length."""


@dataclass(slots=True)
class UploadedDraft:
    """A draft that was read, and found to refer only to what it may."""

    upload: Upload
    base: Snapshot
    commit: ReadCommit
    content: NewContent
    """Chunks in blocks of its own, which were checked."""
    known: Places
    """All other chunks."""
    packs: dict[str, Upload]
    """Those it refers to, by name."""
    parts: dict[str, dict[Block, list[Part]]] = field(default_factory=dict)
    """What each pack must hold."""
    used: list[str] = field(default_factory=list)
    """Packs that the commit last made of it refers to."""
    kept: list[str] = field(default_factory=list)
    """Packs that the draft refers to which keeps what a strategy drops of it."""
    new_bytes: int = 0
    """Raw bytes of chunks that the base does not have."""

    def unproven(self) -> list[str]:
        """Return the packs that were never found to hold all that this draft says of them."""
        return [name for name, pack in self.packs.items() if pack.proof != proof_of(self.parts[name])]


def container_of(upload: Upload) -> Container:
    kind = ObjectKind.COMMIT if upload.kind == "draft" else ObjectKind.PACK
    return Container(upload.tenant, upload.project, kind, upload.generation, upload.name, upload.object_id, upload.dek)


def proof_of(parts: Mapping[Block, Sequence[Part]]) -> bytes:
    """Return a digest of what is said of a pack: each block's place, and each chunk's id and place in it."""
    digest = blake3()
    for block in sorted(parts, key=lambda block: block[1:]):
        own = sorted(parts[block])
        digest.update(_BLOCK.pack(block.frame, block.offset, block.stored_bytes, block.raw_bytes, len(own)))
        digest.update(b"".join([_PART.pack(*part) for part in own]))
    return digest.digest()


class Inspector:
    def __init__(self, context: Context) -> None:
        self._context = context

    def read(self, principal: Principal, session: SessionId, receipt: UploadReceipt) -> UploadedDraft:
        """Read a draft. Its packs are found, not looked into.

        Raises:
            BadUpload: it is not stored as the receipt says, does not open, refers to what it may not, or the session
                has no such upload. QuotaExceeded.
        """
        context = self._context
        upload = self._find(principal, session, [receipt.name], "draft")[receipt.name]
        base = context.log.load(upload.tenant, upload.project, Generation(upload.generation - 1))
        keys = context.keys.of(upload.tenant, upload.project)
        if upload.dek == PLAIN:
            keys.reload()  # the project may have been encrypted since its slot was given out
        own = container_of(upload)
        data = self._fetch(own, receipt, MAX_DRAFT_BYTES)
        with _blaming(own):
            opener = keys.opener(own.seal())
            with context.log.memory.account(f"draft {own.name}") as account:
                commit = read_commit(data, own, opener, keys.id_key, account.take)
            if (commit.meta.parent, commit.meta.parent_hash) != (base.head.commit or "", base.head.record_hash):
                raise CorruptObject(own.seal().key, "it is not made on the generation that its slot was given for")
        for path, entry in commit.changes.upserts.items():
            if entry.kind == FILE:
                context.policy.limits.check_file(to_display(path), entry.size)
        stray = misfit(base.tree, commit.changes)
        if stray is not None:
            raise BadUpload(f"draft {own.name} puts {to_display(stray)!r} where there is no folder")
        draft = UploadedDraft(upload, base, commit, NewContent({}, {}, []), {}, {})
        self._sort(draft, own, keys, data, opener)
        draft.packs = self._find(principal, session, list(draft.parts), "pack")
        if not all(keys.trusts(one.dek) for one in draft.packs.values()):
            raise BadUpload("the draft refers to packs from before the project was encrypted", hint="upload again")
        for name, blocks in draft.parts.items():
            pack = draft.packs[name]
            for block in blocks:
                if pack.draft != upload.name or block.container != container_of(pack):
                    raise _not_yours(block.container)
        return draft

    def check_packs(self, draft: UploadedDraft, receipts: Sequence[UploadReceipt]) -> int:
        """Read packs back, several at once, and note what they are proven to hold. Returns how many were read.

        Packs that the draft does not refer to, or that are proven to hold what it says, are passed over. Raises
        BadUpload.
        """
        unproven = set(draft.unproven())
        wanted = list({one.name: one for one in receipts if one.name in unproven}.values())
        total = sum(one.size for one in wanted)
        if total > MAX_CHECKED_BYTES:
            raise BadUpload(
                f"{plural(len(wanted), 'pack')} of {plural(total, 'byte')}: too much to check at once",
                hint=f"have packs of at most {MAX_CHECKED_BYTES} bytes checked in one call",
            )
        list(self._context.workers.requests.map(lambda receipt: self._check_pack(draft, receipt), wanted))
        proofs: dict[str, bytes] = {one.name: proof_of(draft.parts[one.name]) for one in wanted}
        upload = draft.upload
        if proofs:
            until = self._context.clock.now() + UPLOAD_KEPT
            there = self._context.catalog.prove_uploads(upload.tenant, upload.project, proofs, until)
            if there < len(proofs):
                raise _gone(upload.session, wanted[0].name)
        draft.packs |= {name: replace(draft.packs[name], proof=proof) for name, proof in proofs.items()}
        return len(wanted)

    def refer(self, draft: UploadedDraft, places: Places, commit: CommitId) -> list[str]:
        """Note which of the draft's packs ``commit`` is about to refer to; return them.

        Raises:
            BadUpload: one of them was removed meanwhile, since its time was over.
        """
        upload = draft.upload
        containers = {place.block.container for place in places.values()}
        used = [name for name, pack in draft.packs.items() if container_of(pack) in containers]
        if used:
            until = self._context.clock.now() + UPLOAD_KEPT
            there = self._context.catalog.refer_uploads(upload.tenant, upload.project, used, commit, until)
            if there < len(used):
                raise _gone(upload.session, used[0])
        return used

    def find(self, principal: Principal, session: SessionId, names: Sequence[str]) -> list[Upload]:
        """Return uploads of either kind. Raises BadUpload: the session has no such upload."""
        return list(self._find(principal, session, names).values())

    def find_draft(self, principal: Principal, session: SessionId, draft: CommitId) -> Upload:
        """Return a draft's slot. Raises BadUpload: the session has no such upload."""
        return self._find(principal, session, [draft], "draft")[draft]

    def _find(
        self, principal: Principal, session: SessionId, names: Sequence[str], kind: str | None = None
    ) -> dict[str, Upload]:
        if not names:
            return {}
        now = self._context.clock.now()
        rows = self._context.catalog.find_uploads(principal.tenant, principal.user, session, names, now)
        found = {one.name: one for one in rows if kind in (None, one.kind)}
        for name in names:
            if name not in found:
                raise _gone(session, name)
        return found

    def _fetch(self, own: Container, receipt: UploadReceipt, most: int) -> Buffer:
        key = own.seal().key
        if receipt.size > most:
            raise BadUpload(f"upload {own.name} has {plural(receipt.size, 'byte')}, over the limit of {most}")
        with _blaming(own):
            try:
                data = self._context.store.get(key, max_bytes=receipt.size)
            except ObjectNotFound:
                raise CorruptObject(key, "it was not stored") from None
            if len(data) != receipt.size:
                raise CorruptObject(key, f"it has {plural(len(data), 'byte')}, and not {receipt.size}")
            if blake3(data).digest() != receipt.blake3:
                raise CorruptObject(key, "other bytes are stored than its receipt says")
        return data

    def _sort(self, draft: UploadedDraft, own: Container, keys: ProjectKeys, data: Buffer, opener: Opener) -> None:
        """Say where each chunk of the draft is: in the base, in the draft itself, or in a pack."""
        inline: dict[Block, list[Part]] = defaultdict(list)
        parts: dict[str, dict[Block, list[Part]]] = defaultdict(lambda: defaultdict(list))
        for chunk, place in draft.commit.places.items():
            block, offset, length = place
            standing = draft.base.places.get(chunk)
            if standing is not None:
                if standing.length != length:
                    raise BadUpload(f"draft {own.name} gives a chunk of {plural(standing.length, 'byte')} {length}")
                draft.known[chunk] = standing
                continue
            draft.new_bytes += length
            if block.container == own:
                inline[block].append((chunk, offset, length))
            elif block.container.kind is ObjectKind.PACK and block.container.project == own.project:
                parts[block.container.name][block].append((chunk, offset, length))
                draft.known[chunk] = place
            else:
                raise _not_yours(block.container)
        draft.parts = {name: dict(blocks) for name, blocks in parts.items()}
        with _blaming(own):
            draft.content = _own_content(inline, keys, data, opener)

    def _check_pack(self, draft: UploadedDraft, receipt: UploadReceipt) -> None:
        upload = draft.packs[receipt.name]
        keys = self._context.keys.of(upload.tenant, upload.project)
        own = container_of(upload)
        data = self._fetch(own, receipt, MAX_PACK_BYTES)
        with _blaming(own), self._context.log.memory.account(f"pack {own.name}") as account:
            opener = keys.opener(own.seal())
            frames = opener.split(data, account.take)
            for block, parts in draft.parts[receipt.name].items():
                _check_block(keys, opener, frames, block, parts)


def _own_content(inline: dict[Block, list[Part]], keys: ProjectKeys, data: Buffer, opener: Opener) -> NewContent:
    """Return the blocks that travel inside a draft, checked."""
    blocks = sorted(inline, key=lambda block: block.frame)
    if sum(block.stored_bytes for block in blocks) > INLINE_BYTES or (
        sum(block.raw_bytes for block in blocks) > _MAX_INLINE_RAW_BYTES
    ):
        raise CorruptObject(opener.seal.key, "it has more content of its own than belongs into a draft")
    frames = opener.split(data)
    chunks: dict[ChunkId, tuple[int, int, int]] = {}
    payloads: list[Payload] = []
    for block in blocks:
        raw = _check_block(keys, opener, frames, block, inline[block])
        chunks |= {chunk: (len(payloads), offset, length) for chunk, offset, length in inline[block]}
        payloads.append(Payload.of(bytes(raw)))
    return NewContent(chunks, {}, payloads)


def _check_block(
    keys: ProjectKeys, opener: Opener, frames: list[tuple[int, memoryview]], block: Block, parts: list[Part]
) -> Buffer:
    """Return a block's raw bytes, which hold just what they should. Raises CorruptObject."""
    at, frame = frames[block.frame] if block.frame < len(frames) else (-1, memoryview(b""))
    if (at, len(frame)) != (block.offset, block.stored_bytes):
        raise CorruptObject(opener.seal.key, f"frame {block.frame} is not where the draft says")
    raw = opener.open_frame(block.frame, frame, max_raw_bytes=MAX_BLOCK_RAW_BYTES)
    if len(raw) != block.raw_bytes:
        raise CorruptObject(opener.seal.key, f"frame {block.frame} has another length than the draft says")
    view = memoryview(raw)
    if sum(length for _, _, length in parts) > len(raw):
        # A chunk of each byte to each other one would be as many hashes of megabytes as the draft has room for.
        raise CorruptObject(opener.seal.key, f"the chunks in frame {block.frame} are longer together than it is")
    for chunk, offset, length in parts:
        if keys.chunker.chunk_id(view[offset : offset + length]) != chunk:
            raise CorruptObject(opener.seal.key, f"frame {block.frame} holds other content than the draft says")
    return raw


@contextmanager
def _blaming(own: Container) -> Iterator[None]:
    """Damage in an upload is its client's affair, and no damage of the project."""
    try:
        yield
    except CorruptObject as error:
        if error.object_name != own.seal().key:
            raise
        raise BadUpload(f"upload {own.name} cannot be used: {error.reason}", hint="upload it again") from None


def _gone(session: SessionId, name: str) -> BadUpload:
    return BadUpload(
        f"session '{session}' has no upload {name[:40]!r}",
        hint="it is in use already, its time is over, or it is another session's: upload again",
    )


def _not_yours(container: Container) -> BadUpload:
    return BadUpload(
        f"the draft refers to object {container.name}, which was neither given out for it nor is part of its base",
        hint="upload the content itself",
    )
