"""What commands say about projects, commits and changes: as JSON, and as short text."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.domain.keys import Encryption
from manifold_common.domain.losses import Loss
from manifold_common.domain.tree import DIRECTORY, SYMLINK, Difference
from manifold_common.domain.wording import plural
from manifold_common.shapes.history import ChangeKind, Commit, change_of
from manifold_common.shapes.losses import NotKept
from manifold_common.shapes.projects import Project

from manifold_local.cli.output import human_bytes, human_time, print_line, safe, safe_path, some_of

LETTERS = {
    ChangeKind.ADDED: "A",
    ChangeKind.DELETED: "D",
    ChangeKind.MODIFIED: "M",
    ChangeKind.KIND: "T",
    ChangeKind.MODE: "P",
    ChangeKind.TIME: ".",
}


def encryption_text(project: Project) -> str:
    """Return what of a project is encrypted, in words."""
    if project.encryption is Encryption.ALL:
        return "all that is stored"
    if project.encryption is Encryption.NONE:
        return "nothing; where projects.encrypt is on, it begins with the next change"
    plain = project.unencrypted
    if plain is None:
        return "all that it has stored itself; what it was forked from has stored content in the clear"
    return (
        f"what is new; {plural(plain.objects, 'object')} of commits and checkpoints from before, "
        f"{human_bytes(plain.bytes)}, and their packs are in the clear"
    )


_LOSS_NAMES = {
    Loss.SPECIAL_BITS: "set-user-ID, set-group-ID or sticky bits",
    Loss.HARD_LINKS: "being a hard link to another file",
    Loss.TIMES: "modification times outside of 1677 to 2262",
    Loss.ATTRIBUTES: "extended attributes or access control lists",
}


def loss_sentences(losses: Sequence[NotKept]) -> list[str]:
    """Return one sentence for each kind."""
    return [
        f"not kept: {_LOSS_NAMES[loss.kind]}, of {plural(loss.count, 'path')}, such as "
        f"{safe_path(loss.example.exact) or '.'}"
        for loss in losses
    ]


def print_differences(differences: Sequence[Difference]) -> None:
    """Print one line for each: a letter, the path, and what else is worth knowing."""
    for difference in differences:
        change = change_of(difference)
        print_line(f"{LETTERS[change]} {_shown_path(difference)}{_remark(difference, change)}")


def _shown_path(difference: Difference) -> str:
    entry = difference.after or difference.before
    slash = "/" if entry is not None and entry.kind == DIRECTORY else ""
    return (safe_path(difference.path) or ".") + slash


def _remark(difference: Difference, change: ChangeKind) -> str:
    before, after = difference.before, difference.after
    if after is not None and after.kind == SYMLINK:
        return f" -> {safe_path(after.content)}"
    if before is None or after is None:
        return ""
    if change is ChangeKind.TIME:
        return "  (time only)"
    return f"  ({before.mode:04o} -> {after.mode:04o})" if before.mode != after.mode else ""


def summary(differences: Sequence[Difference]) -> str:
    """Return ``2 added, 1 deleted``, or ``no changes``."""
    counts = dict.fromkeys(ChangeKind, 0)
    for difference in differences:
        counts[change_of(difference)] += 1
    said = {
        ChangeKind.KIND: "of another kind",
        ChangeKind.MODE: "with other permissions",
        ChangeKind.TIME: "with another time",
    }
    parts = [f"{count:,} {said.get(change, change.value)}" for change, count in counts.items() if count]
    return ", ".join(parts) or "no changes"


def print_log_entry(entry: Commit, tags: Sequence[str] = ()) -> None:
    """Print a commit over several lines. Args: ``tags``: the names of its generation."""
    by = f"{safe(entry.author)}, session {entry.session}" if entry.session else safe(entry.author)
    named = f"  ({some_of(tags)})" if tags else ""
    print_line(f"generation {entry.generation}  {entry.id}{named}")
    print_line(f"  {human_time(entry.created_at)}  {by}")
    counts = f"+{entry.added:,} ~{entry.modified:,} -{entry.deleted:,}"
    print_line(f"  {counts}  {plural(entry.new_bytes, 'new byte')}")
    for line in entry.message.splitlines():
        print_line(f"    {safe(line)}")
    for key, value in entry.provenance.items():
        print_line(f"  {safe(str(key))}: {safe(str(value))}")
    print_line()
