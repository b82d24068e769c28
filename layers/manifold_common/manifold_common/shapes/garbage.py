"""How long history is kept; what would be collected, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Annotated

from msgspec import Meta

from manifold_common.domain.garbage import Anew, Cause, Garbage, Leaving
from manifold_common.ids import Generation, ProjectId, SessionId, TagName
from manifold_common.shapes.base import Answer, Count, Request
from manifold_common.shapes.jobs import Job


class Reason(Enum):
    """Why nothing refers to an object."""

    HISTORY = "history"
    ORPHAN = "orphan"
    DELETED = "deleted"


class GarbageCount(Answer, frozen=True):
    reason: Annotated[
        Reason,
        Meta(
            description="`history`: no kept generation refers to it. `orphan`: nothing does; whoever stored it was cut "
            "off. `deleted`: its project was, and cannot be brought back any more."
        ),
    ]
    objects: Count
    bytes: Count


class MovedCount(Answer, frozen=True):
    """Objects that go because a collection writes what they hold anew, and what that is a part of."""

    reason: Annotated[
        Anew,
        Meta(
            description="`mostly_dead`: little of it is still in use. `small`: there are many small ones, which are "
            "put together. `checkpoint`: it says where content is that moves."
        ),
    ]
    objects: Count
    bytes: Annotated[Count, Meta(description="Of the objects that go. What is in use of them is stored anew.")]


class CondemnedCount(Answer, frozen=True):
    reason: Annotated[
        Cause,
        Meta(
            description="`history`: no kept generation refers to it. `orphan`: nothing does; whoever stored it was cut "
            "off. `deleted`: its project was, and cannot be brought back any more. `moved`: what was in use of it was "
            "written anew elsewhere."
        ),
    ]
    objects: Count
    bytes: Count


class GarbageOfProject(Answer, frozen=True):
    project: ProjectId
    generations: Annotated[Count, Meta(description="How many generations no rule keeps.")]
    first_generation: Generation | None
    last_generation: Generation | None
    garbage: Annotated[list[GarbageCount], Meta(description="What nothing refers to, or only those generations do.")]
    moved: Annotated[
        list[MovedCount],
        Meta(description="What something refers to, until a collection has written what is in use of it anew."),
    ]

    @staticmethod
    def of(
        project: ProjectId, gone: Sequence[Generation], found: Sequence[Garbage], leaving: Sequence[Leaving]
    ) -> GarbageOfProject:
        objects, why = Counter(one.reason.value for one in found), Counter(one.why for one in leaving)
        sizes, left = Counter[str](), Counter[Anew]()
        for one in found:
            sizes[one.reason.value] += one.bytes
        for other in leaving:
            left[other.why] += other.bytes
        return GarbageOfProject(
            project=project,
            generations=len(gone),
            first_generation=gone[0] if gone else None,
            last_generation=gone[-1] if gone else None,
            garbage=[
                GarbageCount(reason=one, objects=objects[one.value], bytes=sizes[one.value])
                for one in Reason
                if objects[one.value]
            ],
            moved=[MovedCount(reason=one, objects=why[one], bytes=left[one]) for one in Anew if why[one]],
        )


class CollectionPlan(Answer, frozen=True):
    """What a collection would remove now: generations at once, and objects when the grace is over."""

    projects: Annotated[
        list[GarbageOfProject],
        Meta(description="Those that have garbage, or generations that no rule keeps; also deleted ones, and forks."),
    ]


MAX_KEPT_GENERATIONS = 1_000_000_000
MAX_KEPT_DAYS = 36_500
_OWN = "Null: as the deployment says."


class RetentionRules(Answer, frozen=True):
    generations: Annotated[Count, Meta(description="So many of the newest generations are kept; 0 sets no number.")]
    days: Annotated[Count, Meta(description="Those that are younger than so many days are kept; 0 sets no age.")]
    grace_seconds: Annotated[Count, Meta(description="Those that are younger are kept whatever the two say.")]


class PinnedGeneration(Answer, frozen=True):
    """A generation that no rule keeps, and that stays because something stands on it."""

    generation: Generation
    tags: Annotated[list[TagName], Meta(description="Its tags, by name.")]
    sessions: Annotated[list[SessionId], Meta(description="Sessions that it, or their saved work, is the base of.")]


class ProjectRetention(Answer, frozen=True):
    """How long a project's history is kept, and what that comes to now."""

    project: ProjectId
    generations: Annotated[Count | None, Meta(description=f"The project's own number of generations. {_OWN}")]
    days: Annotated[Count | None, Meta(description=f"The project's own age in days. {_OWN}")]
    in_force: Annotated[
        RetentionRules,
        Meta(
            description="A generation stays while one of these keeps it, or a tag or a session stands on it. Where "
            "number and age are both 0, everything is kept."
        ),
    ]
    kept: Annotated[Count, Meta(description="Generations that there are now.")]
    oldest: Annotated[Generation | None, Meta(description="The oldest of them; null while the project is empty.")]
    due: Annotated[Count, Meta(description="How many the next collection removes.")]
    first_due: Generation | None
    last_due: Generation | None
    pinned: list[PinnedGeneration]


class SetRetention(Request, frozen=True):
    """What is left out, or null, is as the deployment says."""

    generations: (
        Annotated[int, Meta(ge=0, le=MAX_KEPT_GENERATIONS, description="Keep so many of the newest; 0 sets no number.")]
        | None
    ) = None
    days: (
        Annotated[int, Meta(ge=0, le=MAX_KEPT_DAYS, description="Keep what is younger than so many days; 0: no age.")]
        | None
    ) = None


class Collected(Answer, frozen=True):
    """A collection, as a job. Where something could not be collected, the job's troubles say why."""

    job: Job
    condemned: Annotated[
        list[CondemnedCount],
        Meta(description="What is condemned by now and not removed yet, whenever it was condemned."),
    ]
