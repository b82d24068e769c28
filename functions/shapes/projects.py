"""The shapes of projects."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

from manifold_common.domain.keys import Encryption
from manifold_common.ids import CommitId, Generation, ProjectId
from pydantic import BaseModel, Field

from functions.shapes.base import GenerationNumber, Shape


class HeadFacts(Protocol):
    @property
    def generation(self) -> Generation: ...
    @property
    def commit(self) -> CommitId | None: ...
    @property
    def skills_generation(self) -> Generation: ...


class ProjectFacts(Protocol):
    """What the services say of a project."""

    @property
    def project(self) -> ProjectId: ...
    @property
    def name(self) -> str: ...
    @property
    def head(self) -> HeadFacts: ...
    @property
    def tree_bytes(self) -> int: ...
    @property
    def tree_files(self) -> int: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def updated_at(self) -> datetime: ...
    @property
    def encryption(self) -> Encryption: ...
    @property
    def revision(self) -> int: ...


class PlainFacts(Protocol):
    @property
    def objects(self) -> int: ...
    @property
    def stored_bytes(self) -> int: ...


class UnencryptedOut(BaseModel):
    objects: int = Field(description="Commit objects and checkpoints. The packs that they refer to come on top.")
    bytes: int


class ProjectOut(BaseModel):
    id: str = Field(examples=["k5q2m7w3x4y5z6a7b2c3d4e5f6"])
    name: str = Field(examples=["demo"])
    generation: int = Field(description="Number of the newest commit; 0 while the project is empty.", examples=[7])
    skills_generation: int = Field(description="The last generation that touched a skills folder.", examples=[0])
    commit: str | None = Field(description="Id of the newest commit.")
    total_bytes: int = Field(description="Bytes of all files at the newest generation.", examples=[52_133])
    entries: int = Field(description="Files, folders and links at the newest generation.", examples=[34])
    created_at: datetime
    updated_at: datetime = Field(description="Time of the newest commit or rename.")
    encryption: Literal["encrypted", "partly", "plain"] = Field(
        description="`partly`: what is new is encrypted, and what was stored before that was switched on is not."
    )
    unencrypted: UnencryptedOut | None = Field(
        description="What a project that is `partly` encrypted has stored in the clear. Null in lists and elsewhere."
    )


def project_out(row: ProjectFacts, plain: PlainFacts | None = None) -> ProjectOut:
    return ProjectOut(
        id=row.project,
        name=row.name,
        generation=row.head.generation,
        skills_generation=row.head.skills_generation,
        commit=row.head.commit,
        total_bytes=row.tree_bytes,
        entries=row.tree_files,
        created_at=row.created_at,
        updated_at=row.updated_at,
        encryption=row.encryption.value,
        unencrypted=None if plain is None else UnencryptedOut(objects=plain.objects, bytes=plain.stored_bytes),
    )


class ProjectPage(BaseModel):
    items: list[ProjectOut]
    next: str | None = Field(description="Give it as `after` to get the next page; null on the last one.")


class ProjectName(Shape):
    name: str = Field(description="1 to 200 bytes of printable text without slashes.", examples=["demo"])


class Fork(ProjectName):
    generation: GenerationNumber | None = Field(default=None, description="What to fork; the newest one by default.")
