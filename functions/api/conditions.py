"""Preconditions of requests, as RFC 9110 has them (section 13): If-Match, If-None-Match and the two with dates.

One evaluation for every route. If-Match is looked at first, or else If-Unmodified-Since; then If-None-Match, or else
If-Modified-Since. If-Match compares strongly, so a weak tag never matches; If-None-Match weakly. A condition that does
not hold is 412, but where a read finds that its client has the newest version already: 304. What is not there at all is
404 to a read whatever its conditions, and 412 to a write.

Besides the tag of what it is about, a condition may name a state of the project: ``"7"``, ``"7-<commit id>"``, or
either with a revision; about a project's tag it may name where that is, ``"7-<commit id>"``, and no state else. A
generation alone is left to the commit point, which compares and changes in one step. All else is looked at before, and
the write is then pinned to the state in which that was seen: it is done on that one, or not.

Dates: the time of a generation stands for all that is in it, since a file's own time is whatever its writer says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from manifold_common.domain.history import Point, Seen, Version, point_of, require_expected
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.tag import Wherever
from manifold_common.domain.tree import FILE, etag_of
from manifold_common.errors import GenerationMismatch, InvalidInput, NotFound, PreconditionFailed
from manifold_common.ids import JobId, ProjectId, SessionId
from manifold_common.services.projects.tags import Expected
from manifold_common.shapes.projects import Project
from manifold_common.shapes.tags import Tag as TagOfProject
from starlette.datastructures import Headers, MutableHeaders

from functions.api.caller import Call
from functions.api.entity_tags import Tag, Tags
from functions.api.validators import Validators, of_job, of_project, of_session, of_tag


class Target(NamedTuple):
    """What a request is about, as it is now."""

    exists: bool
    etag: str | None = None
    version: Version | None = None
    """Of its project."""
    modified_at: datetime | None = None
    place: str | None = None
    about: str = "project"


class Conditions:
    """Raises InvalidInput: a header with tags is empty or malformed. (One with a date is then ignored.)"""

    def __init__(self, headers: Headers) -> None:
        self.match = Tags.of("If-Match", headers.getlist("if-match"))
        self.none_match = Tags.of("If-None-Match", headers.getlist("if-none-match"))
        self.unmodified_since = _date(headers.getlist("if-unmodified-since")) if self.match is None else None
        self.modified_since = _date(headers.getlist("if-modified-since")) if self.none_match is None else None

    @property
    def asks_of_writes(self) -> bool:
        return bool(self.match or self.none_match or self.unmodified_since)

    def plain_generation(self) -> Point | None:
        """Return the one generation that the request depends on, if that is its whole condition."""
        if self.match is None or self.none_match is not None or len(self.match.tags) != 1:
            return None
        return self.match.tags[0].names_generation()

    def require(self, target: Target, free: Target | None = None) -> None:
        """Args: ``free``: what If-None-Match is about, where that is something else.

        Raises:
            PreconditionFailed, GenerationMismatch: a write may not be done.
        """
        self._require_match(target)
        if self.none_match is not None and self._none_match_fails(free or target, self.none_match):
            raise PreconditionFailed(
                "what If-None-Match names is there",
                hint="look at what is there; to replace a version that you know, use If-Match",
            )

    def needed(self, found: Version) -> Version | None:
        """Return what has to be so still when the write is done, for what was required to hold then; ``None``: nothing
        but that the project is there. Args: ``found``: its state, in which they were."""
        if self.none_match is None and self.match is not None:
            if self.match.is_any:
                return None
            if any(tag.names_generation() and tag.names(found) for tag in self.match.tags):
                return found._replace(revision=None)
        return found

    def has_newest(self, target: Target) -> bool:
        """Tell whether a read need not be answered, since its client has that version.

        Raises:
            PreconditionFailed, GenerationMismatch: what is there is not what it asks for.
        """
        self._require_match(target)
        if self.none_match is not None:
            return self._none_match_fails(target, self.none_match)
        return (
            self.modified_since is not None
            and target.modified_at is not None
            and target.modified_at.replace(microsecond=0) <= self.modified_since
        )

    def _require_match(self, target: Target) -> None:
        found = self.match
        if found is not None:
            if target.exists if found.is_any else found.match(target.etag, target.version, strong=True):
                return
            if found.match(target.place, None, strong=True):
                return
            if target.version is not None and (expected := _only_generations(found.tags)) is not None:
                require_expected(target.version.point, expected)
            raise PreconditionFailed(
                "there is nothing that If-Match could name" if not target.exists else "it is not what If-Match names",
                hint="read it again, and decide anew; a weak tag (W/) never matches here",
            )
        since = self.unmodified_since
        if since is None or target.modified_at is None or target.modified_at.replace(microsecond=0) <= since:
            return
        raise PreconditionFailed(
            f"the {target.about} was changed after {since:%Y-%m-%d %H:%M:%S} UTC",
            hint="read it again, and decide anew",
        )

    @staticmethod
    def _none_match_fails(target: Target, found: Tags) -> bool:
        return target.exists if found.is_any else found.match(target.etag, target.version, strong=False)


def check_read(headers: Headers, validators: Validators | None, answered: MutableHeaders | dict[str, str]) -> None:
    """Hold a read's conditions against what would be answered.

    Args:
        validators: ``None``: it is there, and has none, as a stream that goes on.
        answered: its headers, which get the validators.

    Raises:
        NotModified: the client has it. PreconditionFailed, GenerationMismatch. InvalidInput.
    """
    target = Target(True)
    if validators is not None:
        answered.update(validators.headers())
        target = target_of(validators)
    if Conditions(headers).has_newest(target):
        raise NotModified(dict(answered))


def target_of(validators: Validators) -> Target:
    """Return what is there, of which these are the validators."""
    return Target(True, *validators)


class NotModified(Exception):
    """The client of a read has the newest version: it is answered by 304, and by these headers."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


def check_new(headers: Headers) -> None:
    """Check the conditions of a request that makes something new, and never replaces what is there.

    Raises:
        PreconditionFailed: it is to be there already. InvalidInput.
    """
    conditions = Conditions(headers)
    if conditions.none_match is not None and conditions.none_match.is_any:
        conditions.none_match = None
    conditions.require(Target(False))


def creates_only(headers: Headers) -> bool:
    """Tell whether a write must not replace anything. Raises InvalidInput."""
    none_match = Conditions(headers).none_match
    return none_match is not None and none_match.is_any


def check_project(headers: Headers, project: Project, *, makes_another: bool = False) -> Version | None:
    """Hold conditions against a project of which no generation is made.

    Args:
        makes_another: what is made is another project, which is not there yet, whatever If-None-Match names.

    Returns:
        The state in which a change of the project has to find it; ``None``: any.

    Raises:
        PreconditionFailed, GenerationMismatch, InvalidInput.
    """
    conditions = Conditions(headers)
    if makes_another:
        conditions.none_match = None
    if not conditions.asks_of_writes:
        return None
    conditions.require(_target(project))
    return conditions.needed(project.version)


def check_tag(headers: Headers, tag: TagOfProject | None, *, moves: bool = False) -> Expected | None:
    """Hold conditions against a tag, which may not be there, before it is changed. ``If-None-Match: *`` alone is left
    to where the tag is made.

    Args:
        moves: the change may move it, which takes an If-Match.

    Returns:
        Where the change has to find it, or as what; ``None``: nothing was said of that, or it was not to be there.

    Raises:
        PreconditionFailed, InvalidInput.
    """
    conditions = Conditions(headers)
    if conditions.match is None and conditions.none_match is not None and conditions.none_match.is_any:
        conditions.none_match = None
    if not conditions.asks_of_writes:
        return None
    if tag is None:
        conditions.require(Target(False))
        return None
    found = target_of(of_tag(tag))
    conditions.require(found)
    if conditions.match is None:
        return None if moves else tag
    if conditions.match.is_any and conditions.none_match is None:
        return Wherever.WHEREVER
    is_place = conditions.none_match is None and conditions.match.match(found.place, None, strong=True)
    return tag.point if is_place else tag


def check_retention(headers: Headers, project: Project, look: Callable[[], Validators]) -> Version | None:
    """Hold conditions against how long a project's history is kept, before that is changed.

    Args:
        look: returns the validators of what is said of it now; called where they are asked for.

    Returns:
        The state in which the change has to find the project; ``None``: any.

    Raises:
        PreconditionFailed, GenerationMismatch, InvalidInput.
    """
    conditions = Conditions(headers)
    if not conditions.asks_of_writes:
        return None
    conditions.require(_target(project)._replace(etag=look().etag))
    return conditions.needed(project.version)


def expected_by(
    caller: Call,
    headers: Headers,
    project: Project,
    said: Seen | None = None,
    *,
    path: bytes | None = None,
    unless_there: bytes | None = None,
    creates: bool = False,
    named: NamedRequest | None = None,
) -> Seen | None:
    """Return the generation that a commit has to be made on, so that all conditions hold; ``None``: any.

    Args:
        said: what the body says of it (``expected_generation``).
        path: what the request is about, where that is one path and not the whole project.
        unless_there: what If-None-Match is about, where that is another path.
        creates: the edit itself replaces nothing, which is all that ``If-None-Match: *`` asks for.
        named: if it was done before, it is answered so, whatever has changed since.

    Raises:
        PreconditionFailed, GenerationMismatch: a condition does not hold. InvalidInput: a header is malformed; or
        header and body name different generations.
    """
    conditions = Conditions(headers)
    if creates and conditions.none_match is not None and conditions.none_match.is_any:
        conditions.none_match = None
    plain = conditions.plain_generation()
    if plain is not None:
        return _agreed(plain, said)
    if not conditions.asks_of_writes:
        return said
    if caller.manifold.edits.earlier(caller.principal, project.id, named) is not None:
        return None
    target = _target(project) if path is None else _entry(caller, project, path)
    conditions.require(target, None if unless_there is None else _entry(caller, project, unless_there))
    _require_said(target, said)
    if path is None and conditions.match is not None and conditions.match.is_any and conditions.none_match is None:
        return said  # it is there, which is all that was asked
    assert target.version is not None
    return target.version.point


def check_session(
    caller: Call,
    headers: Headers,
    session: SessionId | None,
    said: Seen | None = None,
    *,
    project: ProjectId | None = None,
    commits: bool = False,
    named: NamedRequest | None = None,
) -> Seen | None:
    """Hold conditions against a session, just before it is changed, or against its project.

    Args:
        session: ``None``: it is to be a new one.
        project: of a new one.
        said: what the body says of the generation that a commit is to be made on.
        commits: a generation alone is left to the commit point.
        named: if a commit was made for it before, that is the answer, whatever has changed since.

    Returns:
        The generation that a commit has to be made on; ``None``: any.

    Raises:
        PreconditionFailed, GenerationMismatch, InvalidInput.
    """
    conditions = Conditions(headers)
    plain = conditions.plain_generation()
    if commits and plain is not None:
        return _agreed(plain, said)
    if not conditions.asks_of_writes:
        return said
    target = Target(False) if project is None else _project(caller, project)._replace(exists=False, etag=None)
    if session is not None:
        with suppress(NotFound):
            found = caller.manifold.sessions.get(caller.principal, session)
            if caller.manifold.edits.earlier(caller.principal, found.project, named) is not None:
                return said
            target = _project(caller, found.project)._replace(etag=of_session(found).etag)
    conditions.require(target)
    _require_said(target, said)
    match = conditions.match
    by_generation = match is not None and match.match(None, target.version, strong=True)
    return target.version.point if by_generation and target.version is not None else said


def check_job(caller: Call, headers: Headers, job: JobId) -> None:
    """Hold a write's conditions against a job as it is now. Raises PreconditionFailed, InvalidInput."""
    conditions = Conditions(headers)
    if conditions.asks_of_writes:
        target = Target(False)
        with suppress(NotFound):
            target = target_of(of_job(caller.manifold.jobs.get(caller.principal, job)))
        conditions.require(target)


def _agreed(plain: Point, said: Seen | None) -> Point:
    """Return what both name, as exactly as one of them does.

    Raises InvalidInput: header and body name different generations.
    """
    if said is None:
        return plain
    point = point_of(said)
    if not (point.is_at(plain) or plain.is_at(point)):
        raise InvalidInput(
            f"If-Match names generation {plain}, and expected_generation {said}", hint="give one of the two"
        )
    return plain if point.commit is None else point


def _require_said(target: Target, said: Seen | None) -> None:
    """Raises GenerationMismatch: the headers hold, but what the body says of the generation does not."""
    if target.version is None:
        return
    try:
        require_expected(target.version.point, said)
    except GenerationMismatch as error:
        error.details["field"] = "expected_generation"
        raise


def _project(caller: Call, project: ProjectId) -> Target:
    return _target(caller.manifold.projects.get(caller.principal, project))


def _target(project: Project) -> Target:
    return target_of(of_project(project))


def _entry(caller: Call, project: Project, path: bytes) -> Target:
    """Return what stands at a path of the newest generation. A folder or link has no tag of its own."""
    snapshot = caller.manifold.history.snapshot(caller.principal, project.id)
    entry = snapshot.tree.get(path)
    etag = None if entry is None or entry.kind != FILE else etag_of(entry)
    return Target(entry is not None, etag, Version(snapshot.head.point, project.revision), snapshot.head.committed_at)


def _only_generations(tags: Sequence[Tag]) -> Seen | None:
    """Return the last generation that the tags name, if they name nothing else."""
    points = [tag.names_generation() for tag in tags]
    return points[-1] if points and all(points) else None


def _date(lines: list[str]) -> datetime | None:
    """Return the time that a header says; ``None``: it says none, or several, which the specification has ignored."""
    if len(lines) != 1:
        return None
    try:
        found = parsedate_to_datetime(lines[0])
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found
    except (ValueError, OverflowError, IndexError):
        return None
