"""Checks that a server's answer fits the request. A client uses no answer before one of these has passed.

A server decides what its projects contain, but not which project a client works on: an answer that cannot belong to the
request is refused as a whole. Names are compared exactly, as servers store and compare them. What an answer means for a
working set or a draft is checked where those are (``services/remote``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import point_of
from manifold_common.domain.listing import CommitFilter, ProjectFilter
from manifold_common.domain.tag import Named
from manifold_common.errors import BadAnswer, InvalidInput
from manifold_common.ids import CommitId, Generation, ObjectId, ProjectId, SessionId, TagName, parse_project_id
from manifold_common.shapes.access import Plan, Published, SessionPlan, UploadLinks, UploadSlots
from manifold_common.shapes.changes import Edited
from manifold_common.shapes.history import Commit
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.projects import Project
from manifold_common.shapes.sessions import Committed, Saved, Session
from manifold_common.shapes.tags import Tag

T = TypeVar("T")

_LOOK = "look at the project's log: something may have been made there"

Check: TypeAlias = Callable[[T], None]
"""Raises BadAnswer: the answer is about something else, or contradicts itself or the request."""


def anything(_: object) -> None:
    """For answers that name nothing that could be something else."""


# --- projects -----------------------------------------------------------------------------------------------------


def project_of(name_or_id: str) -> Check[Project]:
    """No project is named like an id, so that one text never means two projects."""

    def check(found: Project) -> None:
        if name_or_id not in (found.id, found.name):
            raise _about("project", repr(name_or_id[:80]), f"{found.name!r} ({found.id})")

    return check


def new_project(name: str, known: Collection[ProjectId]) -> Check[Project]:
    """Args: ``known``: ids that were there before."""

    def check(made: Project) -> None:
        if made.name != name:
            raise _about("project", repr(name), repr(made.name))
        has_something = (made.generation, made.commit, made.entries, made.total_bytes) != (0, None, 0, 0)
        if has_something or made.id in known:
            raise BadAnswer(
                f"the server was asked for a new project {name!r}, and answers about one that is not new",
                hint="look at the server's projects: nothing was put into that one",
            )

    return check


def renamed_project(project: ProjectId, name: str) -> Check[Project]:
    def check(renamed: Project) -> None:
        if renamed.id != project:
            raise _about("project", project, renamed.id)
        if renamed.name != name:
            raise BadAnswer(
                f"the server was asked to rename project {project} to {name!r}, and says that it is {renamed.name!r} "
                "now",
                hint=f"look at what it is called: 'manifold --remote URL project show {project}'",
            )

    return check


def undeleted_project(name_or_id: str, name: str | None) -> Check[Project]:
    """Args: ``name``: what it was to be named; ``None``: what it was named before.

    Who asks by name and gives another one has the server's word for which project that was.
    """

    def check(found: Project) -> None:
        is_other_name = name is None and found.name != name_or_id
        if found.id != name_or_id and (_is_id(name_or_id) or is_other_name):
            raise _about("project", repr(name_or_id[:80]), f"{found.name!r} ({found.id})")
        if found.deleted_at is not None or name not in (None, found.name):
            raise BadAnswer(
                f"the server was asked to bring {name_or_id[:80]!r} back, and answers {found.name!r}, which is not it",
                hint="look at what became of it: 'manifold --remote URL project list', with and without --deleted",
            )

    return check


def _is_id(text: str) -> bool:
    try:
        parse_project_id(text)
    except InvalidInput:
        return False
    return True


def restored(project: ProjectId, generation: Generation, intent: Intent) -> Check[Edited]:
    def check(done: Edited) -> None:
        if done.project != project:
            raise _about("project", project, done.project)
        made = done.commit is not None
        if done.generation < generation + made or (not made and done.paths_total) or len(done.paths) > done.paths_total:
            raise BadAnswer("the server's answer to a restore contradicts itself", hint=_LOOK)
        check_expected(done, intent)
        _check_decided(done, intent.strategy)

    return check


def check_expected(done: Edited | Committed, intent: Intent) -> None:
    """Raises BadAnswer: it was done on another generation than the caller expects. A request that the caller has named
    is answered as the first of that name was, whatever that expected."""
    if intent.expected is None or intent.request is not None:
        return
    if done.generation != point_of(intent.expected).generation + (done.commit is not None):
        raise BadAnswer("the server did it on top of another generation than was expected", hint=_LOOK)


def _check_decided(done: Edited | Committed, strategy: Strategy) -> None:
    """Raises BadAnswer: it names what the strategy cannot have decided."""
    if (done.conflicts and strategy is Strategy.FAIL) or (done.kept and strategy is not Strategy.THEIRS):
        raise BadAnswer(
            f"the server has decided on conflicts, which the strategy '{strategy.value}' does not", hint=_LOOK
        )


def published(session: SessionId, intent: Intent) -> Check[Published]:
    """What it was made on, whoever has the draft holds against it."""

    def check(done: Published) -> None:
        changed = done.added + done.modified + done.deleted
        if done.generation == 0 or (done.commit is None and (changed or not done.rebased)):
            raise BadAnswer("the server's answer to a commit contradicts itself", hint=_LOOK)
        _check_decided(done, intent.strategy)
        if done.plan is not None:
            session_plan_of(session, done.project)(done.plan)
            check_plan(done.plan.plan, done.project, done.generation)
            if done.commit not in (None, done.plan.plan.commit):
                raise BadAnswer("the server plans another commit than it says it has published", hint=_LOOK)

    return check


# --- lists --------------------------------------------------------------------------------------------------------


def listed_projects(wanted: ProjectFilter) -> Check[Sequence[Project]]:
    def check(found: Sequence[Project]) -> None:
        _check_items("projects", all(wanted.takes(one.name, one.created_at, one.updated_at) for one in found))
        _check_order("projects", [one.name for one in found])

    return check


def listed_deleted_projects(wanted: ProjectFilter) -> Check[Sequence[Project]]:
    def check(found: Sequence[Project]) -> None:
        takes = (wanted.takes(one.name, one.created_at, one.updated_at) for one in found)
        _check_items("deleted projects", all(takes) and all(one.deleted_at is not None for one in found))
        _check_order("deleted projects", [(one.name, one.id) for one in found])

    return check


def tag_of(name: TagName, named: Named | None = None) -> Check[Tag]:
    """Args: ``named``: what it was to be set to, if it was."""

    def check(found: Tag) -> None:
        if found.name != name:
            raise _about("tag", repr(name), repr(found.name))
        if isinstance(named, int) and found.generation != named:
            raise _about("generation", str(named), str(found.generation))

    return check


def listed_tags(found: Sequence[Tag]) -> None:
    _check_order("tags", [one.name for one in found])


def listed_commits(wanted: CommitFilter) -> Check[Sequence[Commit]]:
    """What a commit changed is not in the list: of ``wanted.path``, the server's word counts."""

    def is_wanted(one: Commit) -> bool:
        is_so = wanted.takes(one.generation, one.author, one.session, one.created_at)
        return is_so and (wanted.provenance is None or wanted.provenance.is_in(one.provenance))

    def check(found: Sequence[Commit]) -> None:
        _check_items("commits", all(map(is_wanted, found)))
        _check_order("commits", [-one.generation for one in found])

    return check


def listed_sessions(project: ProjectId | None) -> Check[Sequence[Session]]:
    def check(found: Sequence[Session]) -> None:
        _check_items("sessions", all(project in (None, one.project) for one in found))
        _check_order("sessions", [one.session for one in found])

    return check


def _check_items(what: str, are_wanted: bool) -> None:
    if not are_wanted:
        raise BadAnswer(f"the server's list of {what} holds others than those that were asked for")


def _check_order(what: str, keys: Sequence[Any]) -> None:
    """Raises BadAnswer: they do not rise, so that one may stand there twice."""
    if any(after <= before for before, after in pairwise(keys)):
        raise BadAnswer(f"the server's list of {what} is out of order")


# --- sessions, plans and uploads ----------------------------------------------------------------------------------


def session_of(session: SessionId) -> Check[Session | SessionPlan | Saved]:
    def check(found: Session | SessionPlan | Saved) -> None:
        if found.session != session:
            raise _about("session", f"'{session}'", f"'{found.session}'")

    return check


def plan_of(project: ProjectId, generation: Generation | None) -> Check[Plan]:
    def check(plan: Plan) -> None:
        check_plan(plan, project, generation)

    return check


def session_plan_of(session: SessionId, project: ProjectId | None) -> Check[SessionPlan]:
    def check(found: SessionPlan) -> None:
        session_of(session)(found)
        check_plan(found.plan, project, None)

    return check


def check_plan(plan: Plan, project: ProjectId | None, generation: Generation | None) -> None:
    """Raises BadAnswer: it is for another project or generation, or contradicts itself."""
    if project is not None and plan.project != project:
        raise _about("project", project, plan.project)
    if generation is not None and plan.generation != generation:
        raise BadAnswer(f"the server was asked for generation {generation}, and answers {plan.generation}")
    if plan.head_generation < plan.generation or (plan.commit is None) != (plan.generation == 0):
        raise BadAnswer(f"the server's plan of generation {plan.generation} contradicts itself")


def slots_for(packs: int, draft: CommitId | None) -> Check[UploadSlots]:
    def check(slots: UploadSlots) -> None:
        if len(slots.packs) > packs or draft not in (None, slots.draft_commit):
            raise BadAnswer("the server gives room for another draft than it was asked to")

    return check


def links_to(names: Iterable[ObjectId]) -> Check[UploadLinks]:
    asked = list(names)

    def check(found: UploadLinks) -> None:
        if [link.name for link in found.links] != asked:
            raise BadAnswer(f"the server was asked for links to store {', '.join(asked)}, and has given others")

    return check


def _about(what: str, asked: str, answered: str) -> BadAnswer:
    return BadAnswer(f"the server was asked for {what} {asked}, and answers about {answered}")
