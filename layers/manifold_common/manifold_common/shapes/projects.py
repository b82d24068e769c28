"""Projects: what is known of one, and what is asked of them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from manifold_common.domain.history import Point, Version
from manifold_common.domain.keys import Encryption
from manifold_common.domain.project_name import MAX_NAME_BYTES, NAME_PATTERN, check_project_name
from manifold_common.domain.tag import Named
from manifold_common.errors import InvalidInput
from manifold_common.ids import CommitId, Generation, ProjectId, UserId
from manifold_common.shapes.base import Answer, Count, Dated, Moment, Request
from manifold_common.shapes.page import Page

GENERATION = "Number or tag; the newest one by default."


class PlainObjects(Answer, frozen=True):
    """What a project has stored in the clear."""

    objects: Annotated[
        Count, Meta(description="Commit objects and checkpoints. The packs that they refer to come on top.")
    ]
    bytes: Count


class Project(Dated, frozen=True):
    id: Annotated[ProjectId, Meta(examples=["k5q2m7w3x4y5z6a7b2c3d4e5f4"])]
    name: Annotated[str, Meta(examples=["demo"])]
    owner: Annotated[UserId, Meta(examples=["local"])]
    generation: Annotated[
        Generation, Meta(description="Number of the newest commit; 0 while the project is empty.", examples=[7])
    ]
    skills_generation: Annotated[
        Generation, Meta(description="The last generation that touched a skills folder.", examples=[0])
    ]
    commit: Annotated[CommitId | None, Meta(description="Id of the newest commit.")]
    total_bytes: Annotated[Count, Meta(description="Bytes of all files at the newest generation.", examples=[52_133])]
    entries: Annotated[
        Count,
        Meta(description="Files, folders and links at the newest generation, the root not counted.", examples=[34]),
    ]
    created_at: Moment
    updated_at: Annotated[Moment, Meta(description="Time of the newest commit or rename.")]
    encryption: Annotated[
        Encryption,
        Meta(description="`partly`: what is new is encrypted, and what was stored before that was switched on is not."),
    ]
    revision: Annotated[
        Count,
        Meta(
            description="Counts what changes the project and makes no generation, such as a rename. With generation "
            "and commit it makes the ETag."
        ),
    ] = 0
    deleted_at: Annotated[Moment | None, Meta(description="When it was deleted; null while it lives.")] = None
    restorable_until: Annotated[
        Moment | None,
        Meta(description="Until when a deleted project can be brought back; null for one that cannot be, or lives."),
    ] = None
    unencrypted: Annotated[
        PlainObjects | None,
        Meta(
            description="What a project that is `partly` encrypted has stored in the clear. Null in lists, and where a "
            "change is answered."
        ),
    ] = None

    def __post_init__(self) -> None:
        Dated.__post_init__(self)
        try:
            check_project_name(self.name)
        except InvalidInput as error:
            raise ValueError(error.message) from None

    @property
    def point(self) -> Point:
        """The newest generation, with its commit."""
        return Point(self.generation, self.commit)

    @property
    def version(self) -> Version:
        return Version(self.point, self.revision)


class ProjectPage(Page, frozen=True):
    items: Annotated[list[Project], Meta(description="By name; deleted ones of one name by id.")]


class ProjectName(Request, frozen=True):
    name: Annotated[
        str,
        Meta(
            description="1 to 200 bytes of printable text without slashes.",
            examples=["demo"],
            extra_json_schema={"pattern": NAME_PATTERN, "minLength": 1, "maxLength": MAX_NAME_BYTES},
        ),
    ]


class Undelete(Request, frozen=True):
    name: Annotated[
        str | None,
        Meta(
            description="What it is to be named from then on; the name that it had by default.",
            examples=["demo"],
            extra_json_schema={"pattern": NAME_PATTERN, "minLength": 1, "maxLength": MAX_NAME_BYTES},
        ),
    ] = None


class Fork(ProjectName, frozen=True):
    generation: Annotated[Named | None, Meta(description=f"What to fork. {GENERATION}")] = None
