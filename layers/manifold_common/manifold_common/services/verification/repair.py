"""Damage is undone as far as what there is elsewhere allows, and the rest stays where it is, and is named.

A verification says what is damaged; each object is then replaced by itself, as it was, where that can be put together
(good_copies.py); a key record by what the catalog says it is; a commit object by another one with the same record
(lost_commits.py). What stood there is put aside first (quarantine.py). What the others held is brought back in new
objects, as far as it stands elsewhere (mending.py). Then another verification looks: only that takes an object off the
list of what is damaged. A commit object that can be read again may name more that is damaged, so that this goes on
until nothing more is repaired. Where only a stretch of the history was looked at, what of it moves is first mended in
all others, one after another, so that no more than one is in memory.

Cut off anywhere, each object is as damaged as it was, or whole. Two repairs at once write the same bytes, or objects
that say the same.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from manifold_common.domain.access import Principal
from manifold_common.errors import ContentCollected, CorruptObject
from manifold_common.format.key_record import encode_key_record
from manifold_common.format.layout import wrapped_key_key
from manifold_common.ids import ChunkId, ProjectId, TenantId
from manifold_common.ports.catalog import MAX_DAMAGED, CommitRow, DraftRef
from manifold_common.services.context import Context
from manifold_common.services.projects.projects import Projects
from manifold_common.services.verification.good_copies import GoodCopies
from manifold_common.services.verification.look import Look, Progress, stretches
from manifold_common.services.verification.lost_commits import LostCommits
from manifold_common.services.verification.mending import Mending
from manifold_common.services.verification.quarantine import replace_object
from manifold_common.services.verification.sound_trees import SoundTrees
from manifold_common.services.verification.verification import Verification
from manifold_common.services.verification.verify import Verify, percentage
from manifold_common.services.verification.working_copies import WorkingCopies
from manifold_common.shapes.verification import Damage, RepairedObject, RepairReport, Source, VerifyReport

_log = logging.getLogger(__name__)

_ROUNDS = 8
"""Of repairing and looking again."""
_KEY_TRIES = 3


class Repair:
    def __init__(self, context: Context, verify: Verify, projects: Projects, working: WorkingCopies) -> None:
        self._context = context
        self._working = working
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
        logs: bool = True,
    ) -> RepairReport:
        """Verify a project, and repair what is found, and what is known, to be damaged. Args: ``logs``: as for
        ``Verify.run``.

        Raises:
            InvalidInput, NotFound, Unavailable: as ``Verify.run``. NotAdopted: this is a copy of the installation.
        """
        look = Look(sample=percentage(read_data=read_data, sample=sample))
        return self.look(principal.tenant, self._projects.get(principal, project).id, look, progress, logs=logs)

    def look(
        self, tenant: TenantId, project: ProjectId, look: Look, progress: Progress | None = None, *, logs: bool = True
    ) -> RepairReport:
        """As ``run``, of a stretch, for whoever works through all projects."""
        ledger = _Ledger(logs=logs)
        report = self._stretch(tenant, project, look, ledger, progress)
        here = _names(report)
        elsewhere = {problem.object for problem in ledger.elsewhere}
        return RepairReport(
            project=project,
            ok=report.ok and not elsewhere,
            found=ledger.count,
            repaired=[
                RepairedObject(object=name, by=by)
                for name, by in sorted(ledger.sources())
                if name not in here | elsewhere
            ],
            rescued_bytes=sum(ledger.rescued.values()),
            quarantined=sorted(ledger.kept),
            damaged=report.damaged + len(elsewhere - here),
            left=[*report.problems, *ledger.elsewhere],
        )

    def _stretch(
        self,
        tenant: TenantId,
        project: ProjectId,
        look: Look,
        ledger: _Ledger,
        progress: Progress | None,
    ) -> VerifyReport:
        """Repair what a look finds damaged, round by round; of a look with suspects, only those. Returns what is found
        at last."""
        seen, report = self._verify.examine(tenant, project, look, progress, logs=ledger.logs)
        ledger.finds(report, look.suspects)
        for _ in range(_ROUNDS):
            if report.ok:
                break
            is_better, before = self._round(seen, look, ledger), _names(report)
            again = look if ledger.is_more_known or report.damaged > MAX_DAMAGED else replace(look, sample=0.0)
            seen, report = self._verify.examine(tenant, project, again, progress, logs=ledger.logs)
            ledger.finds(report, look.suspects)
            # What could not be repaired here may have been by others, since it was looked at.
            if not is_better and _names(report) == before:
                break
        return report

    def _round(self, seen: Verification, look: Look, ledger: _Ledger) -> bool:
        """Repair what can be of what was seen to be damaged. Returns whether anything was."""
        damaged = {one.object for one in seen.found()}
        names = sorted(damaged & look.suspects if look.suspects else damaged)
        trees = SoundTrees(self._context, seen, damaged)
        copies, lost = GoodCopies(self._context, seen, set(names)), LostCommits(self._context, seen, trees)
        ledger.is_more_known = False
        left = []
        for name in names:
            try:
                if self._repair_key(seen, name, ledger) or self._restore(seen, name, copies, lost, ledger):
                    continue
            except CorruptObject as error:
                _log.error("damaged object %s of project %s is left: %s", name, seen.project, error.reason)
            left.append(name)
        if not left:
            return bool(names)
        mending = Mending(self._context, seen, damaged, left, trees, self._working)
        if look.last is not None and not look.suspects and not ledger.swept.issuperset(left):
            self._mend_others(seen, look, mending, left, ledger)
        return self._mend(seen.project, mending, left, ledger) or len(left) < len(names)

    def _mend_others(
        self, seen: Verification, look: Look, mending: Mending, left: Sequence[str], ledger: _Ledger
    ) -> None:
        """Have every other stretch of the history read elsewhere what its objects held. They come first: cut off, this
        one still shows what is to be done."""
        ledger.swept.update(left)
        try:
            if not mending.finds_content():
                return
        except CorruptObject:
            return  # as whoever mends will hear, too
        for after in stretches(self._context.catalog.head(seen.tenant, seen.project).generation):
            if after != look.after:
                other = Look.stretch(after, suspects=frozenset(left))
                found = self._stretch(seen.tenant, seen.project, other, ledger, None)
                ledger.elsewhere += [problem for problem in found.problems if problem.object in left]

    def _restore(self, seen: Verification, name: str, copies: GoodCopies, lost: LostCommits, ledger: _Ledger) -> bool:
        """Store an object as it was, if it can be put together, or one that says the same. Raises CorruptObject: what
        is there is too large."""
        good, by = copies.of(name), Source.CACHE
        if good is None:
            good, by = lost.rebuilt(name), Source.REBUILT
        if good is None:
            return False
        ledger.done(name, by, replace_object(self._context.store, name, good))
        ledger.is_more_known |= isinstance(seen.rows.get(name), CommitRow | DraftRef)
        return True

    def _mend(self, project: ProjectId, mending: Mending, left: Sequence[str], ledger: _Ledger) -> bool:
        """Have content of damaged objects stand elsewhere, and readers know. Returns whether anything has changed."""
        try:
            done = mending.mend()
        except ContentCollected:
            return True  # what is where has changed since it was looked at
        except CorruptObject as error:
            _log.error("project %s is not mended: %s", project, error)
            return False
        for name in left:
            if name in done.checkpoints:
                ledger.done(name, Source.LOG, None)
            elif done.moved:
                ledger.moved.add(name)
        ledger.kept |= done.kept
        ledger.rescued |= done.moved
        return bool(done.checkpoints or done.moved)

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


def _names(report: VerifyReport) -> set[str]:
    return {problem.object for problem in report.problems}


class _Ledger:
    """What a repair has done so far."""

    def __init__(self, *, logs: bool) -> None:
        self.logs = logs
        self.count = 0
        """Objects that were found damaged."""
        self._found: set[str] = set()
        self.swept: set[str] = set()
        """These were mended in all other stretches of the history, as far as they can be."""
        self.elsewhere: list[Damage] = []
        """What is wrong with these there yet."""
        self.by: dict[str, Source] = {}
        self.moved: set[str] = set()
        """Some or all of what these held may stand elsewhere."""
        self.rescued: dict[ChunkId, int] = {}
        """Chunks that stand elsewhere now, and how long each is."""
        self.kept: set[str] = set()
        """Where what was stored is kept."""
        self.is_more_known = False
        """A commit object can be read again, and what it refers to was not looked at yet."""

    def finds(self, report: VerifyReport, suspects: Collection[str]) -> None:
        if suspects:
            return  # they were found already, and others are not for this repair
        new = {problem.object for problem in report.problems} - self._found
        self.count += len(new) if self._found else report.damaged  # of very many, not all are told
        self._found |= new

    def sources(self) -> Iterable[tuple[str, Source]]:
        return (dict.fromkeys(self.moved, Source.MOVED) | self.by).items()

    def done(self, name: str, by: Source, kept: str | None) -> None:
        self.by[name] = by
        if kept is not None:
            self.kept.add(kept)
            _log.warning("what was stored as %s is kept as %s", name, kept)
