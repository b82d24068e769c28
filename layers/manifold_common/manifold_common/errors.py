"""Every error Manifold raises on purpose.

An error belongs to one of seven *kinds*. The kind decides the HTTP status and the exit code (one table each, at the
edges), whether a retry can help, and how loudly it is logged. The *code* is stable and machine-readable; the message
says what was wrong and where; the *hint* says what to do next.

Foreign exceptions (psycopg, obstore, OSError, ...) are translated once, in the adapter that met them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, ClassVar


class ErrorKind(Enum):
    """What the caller can do about an error."""

    CONFLICT = "conflict"  # the state moved on: look again, then decide
    NOT_FOUND = "not_found"
    INVALID = "invalid"  # the request itself is wrong: change it
    DENIED = "denied"
    UNAVAILABLE = "unavailable"  # a dependency or resource is missing right now: try again later
    CORRUPT = "corrupt"  # stored bytes are not what was written
    INTERNAL = "internal"  # a bug in Manifold


class ManifoldError(Exception):
    """Base of every deliberate error.

    Attributes:
        kind: what the caller can do about it.
        code: stable, snake_case, one per concrete class.
        message: one sentence that names what was wrong and where.
        hint: what to do next, or ``None``.
        details: JSON-serialisable facts for programs (paths, generations, limits).
    """

    kind: ClassVar[ErrorKind] = ErrorKind.INTERNAL
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = details

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


# --- conflict ---------------------------------------------------------------------------------------------------


class Conflict(ManifoldError):
    """The state is another than the request is for."""

    kind = ErrorKind.CONFLICT
    code = "conflict"


class CommitConflict(Conflict):
    """Other commits changed the same paths. The caller's work is kept as a draft of its session, if it has one.

    Attributes:
        session: whose working set it is about, if any. The hint then holds for a checkout as for a commit.
        project: the project's id.
    """

    code = "commit_conflict"

    def __init__(
        self,
        message: str,
        *,
        paths: Sequence[str],
        base_generation: int,
        head_generation: int,
        project: str,
        session: str | None = None,
        **details: Any,
    ) -> None:
        again = f"check session '{session}' out" if session else "do it again"
        then = ", edit the files if neither side is right, and commit" if session else ""
        super().__init__(
            message,
            hint=f"{again} with the strategy 'ours' (your versions on top of generation {head_generation}) or 'theirs' "
            f"(the others'; yours are kept as the draft of a new session, which the answer names){then}",
            paths=list(paths),
            base_generation=base_generation,
            head_generation=head_generation,
            project=project,
            session=session,
            **details,
        )
        self.paths = list(paths)
        self.project = project
        self.session = session


class GenerationMismatch(Conflict):
    """A conditional write named a generation that is not the head."""

    code = "generation_mismatch"


class PreconditionFailed(Conflict):
    """What a condition names is not what is there. Nothing was changed."""

    code = "precondition_failed"


class AlreadyExists(Conflict):
    """What the request would make is there already."""

    code = "already_exists"


class SessionBusy(Conflict):
    """Another process is working on the same working set."""

    code = "session_busy"


class UploadLocked(Conflict):
    """Another request is writing to the resumable upload, or has taken it over. Nothing more of this one is kept."""

    code = "upload_locked"


class UploadOffsetMismatch(Conflict):
    """The content does not begin where the resumable upload is. ``details``: ``offset``, where that is."""

    code = "upload_offset_mismatch"


class JobEnded(Conflict):
    """A job is over, or is in another state than the request is for."""

    code = "job_ended"


class SessionMoved(Conflict):
    """The session has gone on in another working set since this one was checked out."""

    code = "session_moved"

    def __init__(self, session: str) -> None:
        super().__init__(
            f"session '{session}' has gone on in another working set, on another machine or in another RAM folder",
            hint="check it out here again: what was saved there is brought here, and merged with what is here",
        )


class NotAdopted(Conflict):
    """This may be a copy of another installation: nothing is changed until somebody has said which of the two goes
    on."""

    code = "not_adopted"

    def __init__(self, doubt: str) -> None:
        super().__init__(
            f"{doubt}; nothing is changed until it is known whether the original goes on",
            hint="'manifold adopt --same' if the original is gone, 'manifold adopt --new' if it goes on",
        )


# --- not found --------------------------------------------------------------------------------------------------


class NotFound(ManifoldError):
    """Absent, or not the caller's: the two are never told apart."""

    kind = ErrorKind.NOT_FOUND
    code = "not_found"


class UnknownAddress(ManifoldError):
    """A server has nothing at an address at all, which says nothing of what there is in its projects."""

    kind = ErrorKind.NOT_FOUND
    code = "unknown_address"


class GenerationGone(NotFound):
    """A generation that a caller was reading is not there any more: it was collected, or the database was restored."""

    code = "generation_gone"


class EventsGone(NotFound):
    """Events from which a reader wanted to go on are not there any more: they were removed, or the database was
    restored."""

    code = "events_gone"

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            hint="read what the events were about anew, then begin again with since=now, or without since for what is "
            "still there",
        )


class ObjectNotFound(NotFound):
    """The object store is certain that it holds no such object (never raised for a failed request)."""

    code = "object_not_found"


# --- invalid ----------------------------------------------------------------------------------------------------


class InvalidInput(ManifoldError):
    """The request cannot be understood, or asks for what cannot be. Nothing was changed."""

    kind = ErrorKind.INVALID
    code = "invalid_input"


class InvalidCursor(InvalidInput):
    """A cursor that is none, or that belongs to another list, or to the same one with other filters."""

    code = "invalid_cursor"


class ConfigError(InvalidInput):
    """A setting is wrong. The message names the key and where it was set."""

    code = "config_error"


class UnsafePath(InvalidInput):
    """A path that leaves the project, or that no project can hold."""

    code = "unsafe_path"


class QuotaExceeded(InvalidInput):
    """The work would go over a configured limit. Checked before anything is written."""

    code = "quota_exceeded"


class BadUpload(InvalidInput):
    """What a client has uploaded is not what it should be. Nothing refers to it."""

    code = "bad_upload"


class RequestNameReused(InvalidInput):
    """A request has the name of an earlier one, and asks for something else. Nothing was changed."""

    code = "request_name_reused"


class UnsatisfiableRange(InvalidInput):
    """The range lies outside the content."""

    code = "unsatisfiable_range"


# --- denied -----------------------------------------------------------------------------------------------------


class Denied(ManifoldError):
    """This may not be done, or not from there."""

    kind = ErrorKind.DENIED
    code = "denied"


class TooManyRequests(Denied):
    """This client has more under way than one client may. It may try again once some of that has ended."""

    code = "too_many_requests"


# --- unavailable ------------------------------------------------------------------------------------------------


class Unavailable(ManifoldError):
    """A dependency did not do its part; the same call may succeed later."""

    kind = ErrorKind.UNAVAILABLE
    code = "unavailable"


class Abandoned(ManifoldError):
    """Work was given up, since nobody waits for it any more. Nothing was changed. No dependency is to blame."""

    kind = ErrorKind.UNAVAILABLE
    code = "abandoned"


class ContentCollected(Unavailable):
    """Content that the work refers to was collected as garbage while it was being done. Nothing was changed."""

    code = "content_collected"

    def __init__(self, project: str) -> None:
        super().__init__(
            f"content that this refers to was collected in project {project} while it was being done",
            hint="do the same again: it is then stored anew",
        )


class Overloaded(Unavailable):
    """All clients together have more under way than this process takes on; or it is stopping."""

    code = "overloaded"


class OutcomeUnknown(Unavailable):
    """A change was sent, and the server's own answer never came. It may have been made, and may yet be."""

    code = "outcome_unknown"


class StoreUnavailable(Unavailable):
    """The object store does not answer, or fails."""

    code = "store_unavailable"


class CatalogUnavailable(Unavailable):
    """The database does not answer, or fails."""

    code = "catalog_unavailable"


class KeyUnavailable(Unavailable):
    """The key provider cannot be reached or does not hold the key that a record names."""

    code = "key_unavailable"


class DatabaseDenied(Unavailable):
    """The role of the connection may not do this: a grant is missing. Nothing was changed, and trying again does not
    help; an operator has to."""

    code = "database_denied"


class NoSpace(Unavailable):
    """A disk (here, at the store or at the database) or the RAM directory is full. Nothing half-written is left."""

    code = "no_space"


class RamUnavailable(Unavailable):
    """The RAM directory cannot be used. Plaintext never falls back to disk."""

    code = "ram_unavailable"


class PartlyDone(Unavailable):
    """Work on many things ran to its end, and failed for some of them. The next run tries those again.

    ``details``: ``done``, how many; ``failed``, the codes of the errors by what they were met at.
    """

    code = "partly_done"


class WorkerLost(Unavailable):
    """Everyone who worked on an item of a job came to an end before it did: it may be what they die of."""

    code = "worker_lost"


class SchemaMismatch(Unavailable):
    """The database schema is older or newer than this code."""

    code = "schema_mismatch"


# --- corrupt ----------------------------------------------------------------------------------------------------


class CorruptObject(ManifoldError):
    """Stored bytes are not what was written, or not where they were written."""

    kind = ErrorKind.CORRUPT
    code = "corrupt_object"

    def __init__(self, object_name: str, reason: str, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(
            f"object {object_name} is damaged: {reason}",
            hint=hint
            or "'manifold verify PROJECT --read-data' shows what is affected; with --repair, it brings back what this "
            "machine's cache, the project or its forks still have. Else restore the object from a backup",
            object=object_name,
            reason=reason,
            **details,
        )
        self.object_name = object_name
        self.reason = reason


class DraftLost(ManifoldError):
    """A session's saved work is missing from the store, or damaged there. The project itself is not concerned."""

    kind = ErrorKind.CORRUPT
    code = "draft_lost"


class StaleStore(ManifoldError):
    """The store answers with less history than the caller has already seen."""

    kind = ErrorKind.CORRUPT
    code = "stale_store"


class BadAnswer(ManifoldError):
    """A server has answered with something that no Manifold server sends, or that it was not asked for. None of it was
    used."""

    kind = ErrorKind.CORRUPT
    code = "bad_answer"


class DumpNotLoaded(ManifoldError):
    """A dump of the catalog was loaded only in part, or into a database that has a catalog already."""

    kind = ErrorKind.CORRUPT
    code = "dump_not_loaded"


class TornCopy(ManifoldError):
    """A database was copied file by file while it was in use, so that its files are of different moments."""

    kind = ErrorKind.CORRUPT
    code = "torn_copy"


class InternalError(ManifoldError):
    """A bug: an invariant of Manifold itself does not hold. The server's log has more, under the correlation id."""


_OF_THE_INSTALLATION = (ConfigError, DatabaseDenied, SchemaMismatch)


def told(error: ManifoldError) -> str:
    """Return what a log may say of an error whatever it is about: its code, and all of it where it can be about nothing
    but settings and servers."""
    return f"{error.code}: {error}" if isinstance(error, _OF_THE_INSTALLATION) else error.code


_OF_SERVERS = (*_OF_THE_INSTALLATION, CatalogUnavailable, CorruptObject, KeyUnavailable, NoSpace, StoreUnavailable)


def open_text(error: ManifoldError) -> str | None:
    """Return what may be kept in the clear, and shown to whoever sees the database, of an error that was met at
    content, with what to do about it: nothing, unless it can be about servers, keys and objects only, never about names
    of files."""
    return str(error) if isinstance(error, _OF_SERVERS) else None


def kind_of_code(code: str) -> ErrorKind:
    """Return the kind of the errors with a code, as one may be stored. INTERNAL: this release has no such code."""
    classes = [ManifoldError]
    for one in classes:
        if one.code == code:
            return one.kind
        classes += one.__subclasses__()
    return ErrorKind.INTERNAL
