"""What commands say about projects, commits and changes: as JSON, and as short text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

from manifold_common.domain.keys import Encryption
from manifold_common.domain.losses import Loss, Losses
from manifold_common.domain.paths import to_text
from manifold_common.domain.tree import DIRECTORY, FILE, SYMLINK, Difference, Entry
from manifold_common.domain.wording import plural
from manifold_common.services.projects.history import LogEntry
from manifold_common.shapes.projects import Project

from manifold_local.cli.output import human_bytes, human_time, print_line, safe, safe_path

KIND_NAMES = {FILE: "file", DIRECTORY: "folder", SYMLINK: "link"}


class Change(Enum):
    """How two versions of one path differ. The value is what JSON has."""

    ADDED = "added"
    DELETED = "deleted"
    MODIFIED = "modified"
    KIND = "kind"
    """A file became a link, or the like."""
    MODE = "mode"
    """Only the permissions differ."""
    TIME = "time"
    """Only the modification time differs."""


LETTERS = {
    Change.ADDED: "A",
    Change.DELETED: "D",
    Change.MODIFIED: "M",
    Change.KIND: "T",
    Change.MODE: "P",
    Change.TIME: ".",
}


def change_of(difference: Difference) -> Change:
    before, after = difference.before, difference.after
    if before is None:
        return Change.ADDED
    if after is None:
        return Change.DELETED
    if before.kind != after.kind:
        return Change.KIND
    if before.content != after.content:
        return Change.MODIFIED
    return Change.MODE if before.mode != after.mode else Change.TIME


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


def paths_json(paths: Iterable[bytes]) -> list[str]:
    return [to_text(path) for path in paths]


def entry_json(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    shown: dict[str, Any] = {"kind": KIND_NAMES[entry.kind], "mode": f"{entry.mode:04o}", "mtime_ns": entry.mtime_ns}
    if entry.kind == FILE:
        shown["size"] = entry.size
    if entry.kind == SYMLINK:
        shown["target"] = to_text(entry.content)
    return shown


_LOSS_NAMES = {
    Loss.SPECIAL_BITS: "set-user-ID, set-group-ID or sticky bits",
    Loss.HARD_LINKS: "being a hard link to another file",
    Loss.TIMES: "modification times outside of 1677 to 2262",
    Loss.ATTRIBUTES: "extended attributes or access control lists",
}


def losses_json(losses: Losses) -> list[dict[str, Any]]:
    return [
        {"kind": loss.value, "count": lost.paths, "example": to_text(lost.example)} for loss, lost in losses.items()
    ]


def loss_sentences(losses: Losses) -> list[str]:
    """Return one sentence for each kind."""
    return [
        f"not kept: {_LOSS_NAMES[loss]}, of {plural(lost.paths, 'path')}, such as {safe_path(lost.example) or '.'}"
        for loss, lost in losses.items()
    ]


def difference_json(difference: Difference) -> dict[str, Any]:
    return {
        "path": to_text(difference.path),
        "change": change_of(difference).value,
        "before": entry_json(difference.before),
        "after": entry_json(difference.after),
    }


def log_json(entry: LogEntry) -> dict[str, Any]:
    return {
        "generation": entry.generation,
        "commit": entry.commit,
        "parent": entry.parent,
        "author": entry.author,
        "session": entry.session,
        "created_at": entry.created_at.isoformat(),
        "message": entry.message,
        "provenance": entry.provenance,
        "added": entry.added,
        "modified": entry.modified,
        "deleted": entry.deleted,
        "new_bytes": entry.new_bytes,
    }


def print_differences(differences: Sequence[Difference]) -> None:
    """Print one line for each: a letter, the path, and what else is worth knowing."""
    for difference in differences:
        change = change_of(difference)
        print_line(f"{LETTERS[change]} {_shown_path(difference)}{_remark(difference, change)}")


def _shown_path(difference: Difference) -> str:
    entry = difference.after or difference.before
    slash = "/" if entry is not None and entry.kind == DIRECTORY else ""
    return (safe_path(difference.path) or ".") + slash


def _remark(difference: Difference, change: Change) -> str:
    before, after = difference.before, difference.after
    if after is not None and after.kind == SYMLINK:
        return f" -> {safe_path(after.content)}"
    if before is None or after is None:
        return ""
    if change is Change.TIME:
        return "  (time only)"
    return f"  ({before.mode:04o} -> {after.mode:04o})" if before.mode != after.mode else ""


def summary(differences: Sequence[Difference]) -> str:
    """Return ``2 added, 1 deleted``, or ``no changes``."""
    counts = dict.fromkeys(Change, 0)
    for difference in differences:
        counts[change_of(difference)] += 1
    said = {Change.KIND: "of another kind", Change.MODE: "with other permissions", Change.TIME: "with another time"}
    parts = [f"{count:,} {said.get(change, change.value)}" for change, count in counts.items() if count]
    return ", ".join(parts) or "no changes"


def print_log_entry(entry: LogEntry) -> None:
    """Print a commit over several lines."""
    by = f"{safe(entry.author)}, session {entry.session}" if entry.session else safe(entry.author)
    print_line(f"generation {entry.generation}  {entry.commit}")
    print_line(f"  {human_time(entry.created_at)}  {by}")
    counts = f"+{entry.added:,} ~{entry.modified:,} -{entry.deleted:,}"
    print_line(f"  {counts}  {plural(entry.new_bytes, 'new byte')}")
    for line in entry.message.splitlines():
        print_line(f"    {safe(line)}")
    for key, value in entry.provenance.items():
        print_line(f"  {safe(str(key))}: {safe(str(value))}")
    print_line()
