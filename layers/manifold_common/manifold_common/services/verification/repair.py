"""Damage is undone as far as what there is elsewhere allows, and the rest stays where it is, and is named.

A verification says what is damaged; each object is then replaced by itself, as it was, where that can be put together
(good_copies.py); a key record by what the catalog says it is. What stood there is put aside first (quarantine.py). What
the others held is brought back in new objects, as far as it stands elsewhere (mending.py). Then another verification
looks: only that takes an object off the list of what is damaged. A commit object that can be read again may name more
that is damaged, so that this goes on until nothing more is repaired.

Cut off anywhere, each object is as damaged as it was, or whole. Two repairs at once write the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from manifold_common.domain.access import Principal
from manifold_common.errors import ContentCollected, CorruptObject
from manifold_common.format.key_record import encode_key_record
from manifold_common.format.layout import wrapped_key_key
from manifold_common.ids import ProjectId, TenantId
from manifold_common.ports.catalog import MAX_DAMAGED, CommitRow, DraftRef
from manifold_common.services.context import Context
from manifold_common.services.projects.projects import Projects
from manifold_common.services.verification.good_copies import GoodCopies
from manifold_common.services.verification.look import Look, Progress
from manifold_common.services.verification.mending import Mending
from manifold_common.services.verification.quarantine import replace_object
from manifold_common.services.verification.verification import Verification
from manifold_common.services.verification.verify import Verify, percentage
from manifold_common.shapes.verification import RepairedObject, RepairReport, Source

_log = logging.getLogger(__name__)

_ROUNDS = 8
"""Of repairing and looking again."""
_KEY_TRIES = 3


class Repair:
    def __init__(self, context: Context, verify: Verify, projects: Projects) -> None:
        self._context = context
        self._verify = verify
        self._projects = projects

    def run(
        self,
        principal: Principal,
        project: ProjectId,
        *,
        read_data: bool = False,
        sample: float | None = None,
        progress: Progress | None = None,
    ) -> RepairReport:
        """Verify a project, and repair what is found, and what is known, to be damaged.

        Raises:
            InvalidInput, NotFound, Unavailable: as ``Verify.run``. NotAdopted: this is a copy of the installation.
        """
        look = Look(sample=percentage(read_data=read_data, sample=sample))
        return self.look(principal.tenant, self._projects.get(principal, project).id, look, progress)

    def look(self, tenant: TenantId, project: ProjectId, look: Look, progress: Progress | None = None) -> RepairReport:
        """As ``run``, for whoever works through all projects."""
        seen, report = self._verify.examine(tenant, project, look, progress)
        ledger = _Ledger()
        ledger.found.update(problem.object for problem in report.problems)
        count = report.damaged
        for _ in range(_ROUNDS):
            if report.ok or not self._round(seen, ledger):
                break
            again = look if ledger.is_more_known or report.damaged > MAX_DAMAGED else Look()
            seen, report = self._verify.examine(tenant, project, again, progress)
            new = {problem.object for problem in report.problems} - ledger.found
            ledger.found |= new
            count += len(new)
        damaged = {problem.object for problem in report.problems}
        return RepairReport(
            project=project,
            ok=report.ok,
            found=count,
            repaired=[
                RepairedObject(object=name, by=by) for name, by in sorted(ledger.sources()) if name not in damaged
            ],
            quarantined=sorted(ledger.kept),
            damaged=report.damaged,
            left=list(report.problems),
        )

    def _round(self, seen: Verification, ledger: _Ledger) -> bool:
        """Repair what can be of what was seen to be damaged. Returns whether anything was."""
        names = sorted(one.object for one in seen.found())
        copies = GoodCopies(self._context, seen, set(names))
        ledger.is_more_known = False
        left = []
        for name in names:
            try:
                if self._repair_key(seen, name, ledger) or self._restore(seen, name, copies, ledger):
                    continue
            except CorruptObject as error:
                _log.error("damaged object %s of project %s is left: %s", name, seen.project, error.reason)
            left.append(name)
        return self._mend(seen, left, ledger) or len(left) < len(names)

    def _restore(self, seen: Verification, name: str, copies: GoodCopies, ledger: _Ledger) -> bool:
        """Store an object as it was, if it can be put together. Raises CorruptObject: what is there is too large."""
        good = copies.of(name)
        if good is None:
            return False
        ledger.done(name, Source.CACHE, replace_object(self._context.store, name, good))
        ledger.is_more_known |= isinstance(seen.rows.get(name), CommitRow | DraftRef)
        return True

    def _mend(self, seen: Verification, left: Sequence[str], ledger: _Ledger) -> bool:
        """Have content of damaged objects stand elsewhere, and readers know. Returns whether anything has changed."""
        if not left:
            return False
        try:
            done = Mending(self._context, seen, {one.object for one in seen.found()}, left).mend()
        except ContentCollected:
            return True  # what is where has changed since it was looked at
        except CorruptObject as error:
            _log.error("project %s is not mended: %s", seen.project, error)
            return False
        for name in left:
            if name in done.checkpoints:
                ledger.done(name, Source.LOG, None)
            elif done.is_moved:
                ledger.moved.add(name)
        ledger.kept |= done.kept
        return bool(done.checkpoints or done.is_moved)

    def _repair_key(self, seen: Verification, name: str, ledger: _Ledger) -> bool:
        """Write a key record as the catalog has it, if it is one. Raises CorruptObject: that is damaged itself."""
        for _ in range(_KEY_TRIES):
            records = self._context.catalog.project_keys(seen.tenant, seen.project)
            record = next((one for one in records if wrapped_key_key(one.tenant, one.project, one.dek) == name), None)
            if record is None:
                return False
            self._context.keys.unwrap(record)
            ledger.done(name, Source.CATALOG, replace_object(self._context.store, name, encode_key_record(record)))
            if record in self._context.catalog.project_keys(seen.tenant, seen.project):
                break  # else it was wrapped anew meanwhile, and what was written may be the older one
        return True


class _Ledger:
    """What a repair has done so far."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.by: dict[str, Source] = {}
        self.moved: set[str] = set()
        """Some or all of what these held may stand elsewhere."""
        self.kept: set[str] = set()
        """Where what was stored is kept."""
        self.is_more_known = False
        """A commit object can be read again, and what it refers to was not looked at yet."""

    def sources(self) -> Iterable[tuple[str, Source]]:
        return (dict.fromkeys(self.moved, Source.MOVED) | self.by).items()

    def done(self, name: str, by: Source, kept: str | None) -> None:
        self.by[name] = by
        if kept is not None:
            self.kept.add(kept)
            _log.warning("what was stored as %s is kept as %s", name, kept)
