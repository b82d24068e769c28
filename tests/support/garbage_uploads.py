"""Content that comes by itself into a world of projects: files in parts, and what clients store by plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from blake3 import blake3
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.history import Point
from manifold_common.domain.tree import FILE, Changes, Entry, directory
from manifold_common.engine.pack_writer import PackWriter
from manifold_common.errors import BadUpload, KeyUnavailable, NotFound, UploadLocked
from manifold_common.format.commit_object import CommitMeta, build_commit
from manifold_common.format.places import Container
from manifold_common.format.sealed import ObjectKind
from manifold_common.ids import CommitId, Generation, SessionId, parse_object_id
from manifold_common.ports.clock import Clock
from manifold_common.services.resumable.records import About
from manifold_common.services.resumable.uploads import Incoming, UploadState
from manifold_common.shapes.access import UploadReceipt
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.faulty_store import Crash
from tests.support.garbage import TENANT
from tests.support.garbage_model import INLINE_BYTES, Doing, Line, Session, Upload, applied, mtime_ns
from tests.support.garbage_nodes import PLAIN_NODE, Nodes
from tests.support.steps import Steps
from tests.support.work import reader

AHEAD = timedelta(days=30)
"""By so much is the clock of a node ahead to which every upload is over."""


@dataclass
class Ahead:
    """Implements Clock."""

    inner: Clock

    def now(self) -> datetime:
        return self.inner.now() + AHEAD

    def monotonic(self) -> float:
        return self.inner.monotonic()

    def sleep(self, seconds: float) -> None:
        self.inner.sleep(seconds)


class Uploads(Nodes):
    # --- files in parts -----------------------------------------------------------------------------------------------

    def begin_upload(self, node: str, line: Line, path: bytes, data: bytes) -> Upload:
        self.at_once(node)
        run, about = self.nodes[node].resumable_uploads.create, About(path)
        try:
            made = run(LOCAL_PRINCIPAL, line.project, about, len(data))
        except KeyUnavailable:  # it learns by this that the project is encrypted by now
            assert node == PLAIN_NODE
            made = run(LOCAL_PRINCIPAL, line.project, about, len(data))
        upload = Upload(line, made.upload, path, data, is_plain=node == PLAIN_NODE)
        self.uploads.append(upload)
        return upload

    def send(self, node: str, upload: Upload, share: float = 1.0, *, stops: bool = False, fail_at: int = 0) -> Steps:
        """Send a share of what is missing of a file. Args: ``share``: 1: all of it, which commits the file."""
        resumable, project = self.nodes[node].resumable_uploads, upload.line.project
        upload.is_busy = True

        def run() -> UploadState | None:
            try:
                at = resumable.look(LOCAL_PRINCIPAL, project, upload.id)
                part = upload.data[at.offset :]
                incoming = Incoming(at.offset, reader(part[: round(len(part) * share)]), lambda _: (None, False))
                return resumable.append(LOCAL_PRINCIPAL, project, upload.id, incoming)
            except BadUpload:
                assert upload.is_plain
                upload.is_left = True
                return None

        def after(result: UploadState | None, error: BaseException | None) -> None:
            upload.is_busy = False
            upload.is_left |= isinstance(error, Crash)
            if isinstance(error, NotFound) or (result is not None and result.outcome is not None):
                upload.is_open = False

        doing = Doing(lambda _: {upload.path: upload.data})
        return self.do("send", run, doing, stops, fail_at, node, after)

    def end_upload(self, node: str, upload: Upload) -> None:
        self.at_once(node)
        try:
            self.nodes[node].resumable_uploads.end(LOCAL_PRINCIPAL, upload.line.project, upload.id)
        except UploadLocked:
            assert upload.is_busy  # a request is just committing it
            return
        except NotFound:
            pass  # it was committed, or swept by a sweep that failed afterwards
        upload.is_open = False

    # --- what clients store by plan -----------------------------------------------------------------------------------

    def store_by_plan(
        self, node: str, line: Line, path: bytes, data: bytes, *, publish: bool, stops: bool = False
    ) -> Steps:
        """Have a client store a file, and the server publish that, or keep it as the session's saved work."""
        manifold, name, base = self.nodes[node], SessionId(self.new_name("s")), line.head
        self.at_once(node)
        plan = manifold.session_plans.plan(LOCAL_PRINCIPAL, name, line.project, CheckoutRequest(Generation(base)))
        files = applied(line.history[base], {path: data})
        session = Session(name, line, "", base, files, base, is_busy=True, is_left=True)
        self.sessions.append(session)

        def run() -> object:
            draft, packs = _stored(manifold, session, plan.plan.commit, path, data)
            if publish:
                return manifold.uploads.publish(LOCAL_PRINCIPAL, name, draft, packs, Intent())
            return manifold.uploads.save(LOCAL_PRINCIPAL, name, draft, packs)

        def after(_result: Any, _error: BaseException | None) -> None:
            session.is_busy = False

        doing = Doing(lambda _: {path: data}, base=base, session=session)
        return self.do("plan", run, doing, stops, node=node, after=after)

    # --- uploads whose time is over -----------------------------------------------------------------------------------

    def sweep_uploads(self, *, stops: bool = False, fail_at: int = 0) -> Steps:
        """Remove what is left of uploads, on a node to which all of them are over. None may be at work."""
        name = f"late-{next(self._numbers)}"
        made = self.build(name, clock=Ahead(self.clock))
        over = [one for one in self.uploads if one.is_open]

        def run() -> int:
            return made.uploads.sweep() + made.resumable_uploads.sweep()

        def after(_result: Any, error: BaseException | None) -> None:
            self.leaving.append(name)
            for one in over:  # one that failed may have removed some of them
                one.is_open, one.is_left = error is not None, True

        return self.do("upkeep", run, None, stops, fail_at, name, after)


def _stored(
    manifold: Manifold, session: Session, commit: CommitId | None, path: bytes, data: bytes
) -> tuple[UploadReceipt, list[UploadReceipt]]:
    """Store a pack and a draft as a client does; return their receipts."""
    context, project = manifold.context, session.line.project
    generation = Generation(session.base)
    slots = manifold.uploads.open(LOCAL_PRINCIPAL, session.name, Point(generation, commit), 1)
    base = context.log.load(TENANT, project, generation, commit=commit)
    keys, free = context.keys.of(TENANT, project), [slot.object_id for slot in slots.packs]
    receipts: list[UploadReceipt] = []

    class Offered:
        """What a pack writer needs of a store."""

        def write(self, key: str, stored: Any) -> None:
            name = parse_object_id(key.rpartition("/")[2].rpartition("-")[2])
            manifold.uploads.link(LOCAL_PRINCIPAL, session.name, {name: len(stored)})
            receipts.append(UploadReceipt(name, len(stored), blake3(stored).digest()))
            context.store.put(key, stored, if_absent=True)

        def discard(self, keys: list[str]) -> None:
            """A client cannot remove anything."""

    offered: Any = Offered()
    writer = PackWriter(TENANT, project, keys, offered, context.workers, context.randomness, base.places, free.pop)
    with writer:
        chunk = writer.add(data)
        content = writer.finish(INLINE_BYTES)
    own = Container(
        TENANT, project, ObjectKind.COMMIT, Generation(generation + 1), slots.draft_commit, slots.draft.object_id,
        slots.write_dek,
    )  # fmt: skip
    meta = CommitMeta(
        tenant=TENANT, project=project, generation=own.generation, commit=slots.draft_commit,
        parent=base.head.commit or "", parent_hash=base.head.record_hash, author=LOCAL_PRINCIPAL.user,
        session=session.name, time_ns=mtime_ns(data), message="", provenance={},
    )  # fmt: skip
    changes = Changes({path: Entry(FILE, 0o644, mtime_ns(data), len(data), chunk)}, set())
    if b"" not in base.tree:
        changes.upserts[b""] = directory(mtime_ns(data))
    places, sealer = {**base.places, **content.places(own)}, keys.sealer(own.seal())
    offered.write(own.seal().key, build_commit(meta, changes, places, content.inline, own, sealer, keys.id_key).data)
    return receipts[-1], receipts[:-1]
