"""Clients that read and store content past a server: plans and uploads (docs/direct-access.md).

Keys and bytes are base64; nothing of them is ever logged. Whether an answer is about what was asked for is seen to in
``shapes/answer_checks.py``.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from manifold_common.domain.object_key import ObjectKey
from manifold_common.domain.served_link import SERVED_LINK
from manifold_common.domain.tag import Named
from manifold_common.ids import CommitId, DekId, Generation, ObjectId, ProjectId, SessionId, TenantId, UserId
from manifold_common.shapes.base import Answer, Count, Dated, Moment, Request, SeenGeneration, seen_of
from manifold_common.shapes.changes import ChangeRequest
from manifold_common.shapes.projects import GENERATION
from manifold_common.shapes.requests import CheckoutRequest
from manifold_common.shapes.sessions import DROP_LOST_DRAFT, DROPPED_DRAFT, SEEN, Committed, Patterns

MAX_SLOTS = 64
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
_URL = rf"(?:(?i:https?)://[!-~]+|{SERVED_LINK})"
Url = Annotated[str, Meta(pattern=rf"\A{_URL}\Z", max_length=8192)]
"""A web address, or a link to the server itself, without its address."""
Headers = Annotated[
    dict[
        Annotated[str, Meta(pattern=r"\A(?i:if-none-match|content-length|x-amz-[a-z0-9-]{1,60})\Z")],
        Annotated[str, Meta(pattern=r"\A[ -~]{1,2048}\Z")],
    ],
    Meta(max_length=16),
]
"""Those that a link to create an object can have, and none that could change what the request is."""

KeyOrNone = Annotated[bytes, Meta(max_length=32)]
"""Empty for an object that is not encrypted."""
Hash = Annotated[bytes, Meta(max_length=32)]
UploadName = Annotated[ObjectId, Meta(description="A pack's id, or the draft's commit id.")]
UploadSize = Annotated[int, Meta(ge=1, le=2**40)]


class ObjectGrant(Answer, frozen=True):
    """What it takes to read one stored object (docs/format-v1.md says what is in it)."""

    key: Annotated[ObjectKey, Meta(description="The object's name, which its seal is bound to.")]
    kind: Annotated[int, Meta(ge=1, le=3, description="Kind of the object: 1 pack, 2 commit object, 3 checkpoint.")]
    object_id: ObjectId
    dek: Annotated[DekId, Meta(description="Id of the data key, which is not given.")]
    object_key: Annotated[
        KeyOrNone, Meta(description="Key of this object alone; empty for an object without encryption.")
    ]
    url: Annotated[
        str,
        Meta(
            pattern=rf"\A{_URL}?\Z",
            max_length=8192,
            description="Link to its bytes, on this server if it begins with `/`; empty where they come along.",
        ),
    ]


class GrantedTree(Answer, frozen=True):
    grant: ObjectGrant
    data: Annotated[bytes | None, Meta(description="The whole checkpoint object; null when it is read by its link.")]


class Plan(Dated, frozen=True):
    """All that is needed to read one generation from the object store."""

    tenant: TenantId
    user: UserId
    project: ProjectId
    generation: Generation
    commit: CommitId | None
    record_hash: Annotated[Hash, Meta(description="Keyed hash of the generation's commit record.")]
    skills_generation: Generation
    head_generation: Annotated[Generation, Meta(description="The project's newest.")]
    tree: Annotated[GrantedTree | None, Meta(description="Null for generation 0, and where `first` is not 0.")]
    objects: Annotated[list[ObjectGrant], Meta(description="At most 2000; ask for the rest with `first`.")]
    objects_total: Annotated[int, Meta(ge=0, le=250_000)]
    expires_at: Annotated[Moment, Meta(description="When the links end. Plan again then.")]
    known: Annotated[
        Annotated[str, Meta(pattern=r"\A[0-9]{1,15}(-[a-z2-7]{26})?\Z")] | None,
        Meta(
            description="What `known_generation` stands for, as `7-<commit id>`: its content was left out. Null: "
            "nothing was, since the project's history does not have it."
        ),
    ] = None
    id_key: Annotated[
        Key | None,
        Meta(
            description="Key that names chunks, by which the content of objects without encryption is proven. Null: "
            "none of `objects` is without, or the session's plan says it."
        ),
    ] = None


class GrantedDraft(Answer, frozen=True):
    commit: CommitId
    grant: ObjectGrant


class SessionPlan(Dated, frozen=True):
    session: SessionId
    opened_at: Moment
    expires_at: Moment
    paths: Annotated[
        list[Annotated[str, Meta(max_length=4096)]],
        Meta(max_length=1000, description="What the session is restricted to; empty: nothing."),
    ]
    id_key: Annotated[Key, Meta(description="Key that names chunks. It opens nothing.")]
    plan: Plan
    draft: Annotated[
        GrantedDraft | None, Meta(description="Saved work to bring back: changes to the plan's generation.")
    ]
    dropped_draft: Annotated[CommitId | None, Meta(description=DROPPED_DRAFT)] = None


class PlanProject(Request, frozen=True):
    generation: Annotated[Named | None, Meta(description=GENERATION)] = None
    paths: Annotated[Patterns, Meta(description="Only what matches (gitignore syntax).")] = []
    known_generation: Annotated[
        SeenGeneration | None,
        Meta(description="Leave out what the client has: the content of this generation."),
    ] = None
    first: Annotated[Count, Meta(description="Number of the first object.")] = 0
    content: Annotated[bool, Meta(description="False: the tree alone.")] = True


class PlanSession(PlanProject, frozen=True):
    project: Annotated[str | None, Meta(description="Name or id. Needed to open a session.")] = None
    restore: Annotated[bool, Meta(description="The client has no working set: bring saved work back.")] = False
    seen_generation: Annotated[SeenGeneration | None, Meta(description=SEEN)] = None
    drop_lost_draft: Annotated[bool, Meta(description=DROP_LOST_DRAFT)] = False

    def request(self, generation: Generation | None, *, only_new: bool = False) -> CheckoutRequest:
        """Args: ``generation``: which one the request names."""
        return CheckoutRequest(
            generation=generation,
            paths=tuple(self.paths),
            seen_generation=seen_of(self.seen_generation),
            drop_lost_draft=self.drop_lost_draft,
            only_new=only_new,
        )


class OpenUploads(Request, frozen=True):
    base_generation: Annotated[SeenGeneration, Meta(description="What the draft is made on.")]
    packs: Annotated[int, Meta(ge=0, le=MAX_SLOTS)] = 1
    draft: Annotated[CommitId | None, Meta(description="No new draft, but more packs of this one.")] = None


class UploadSlot(Answer, frozen=True):
    """One object that may be stored, once there is a link for it."""

    key: ObjectKey
    object_id: ObjectId
    object_key: Annotated[KeyOrNone, Meta(description="Key to seal it with; empty without encryption.")]


class UploadSlots(Answer, frozen=True):
    plan: Annotated[
        Plan | None, Meta(description="The tree that the draft is made on; null for more packs of a draft.")
    ]
    write_dek: Annotated[DekId, Meta(description="Id of the data key that new objects name.")]
    id_key: Annotated[Key, Meta(description="Key that names chunks. It opens nothing.")]
    draft_commit: Annotated[CommitId, Meta(description="Id of the draft, a commit object.")]
    draft: UploadSlot
    packs: list[UploadSlot]


class SizedUpload(Request, frozen=True):
    name: UploadName
    size: Annotated[UploadSize, Meta(description="Bytes of the object as it will be stored. Once told, it stays.")]


class LinkUploads(Request, frozen=True):
    uploads: Annotated[list[SizedUpload], Meta(min_length=1, max_length=MAX_SLOTS)]


class UploadLink(Answer, frozen=True):
    """The right to store one object, once, with the length that was told."""

    name: UploadName
    url: Annotated[Url, Meta(description="PUT the object here: on this server if it begins with `/`.")]
    headers: Annotated[Headers, Meta(description="To be sent with it, exactly so.")]


class UploadLinks(Answer, frozen=True):
    links: list[UploadLink]


class UploadReceipt(Request, frozen=True):
    name: UploadName
    size: Annotated[UploadSize, Meta(description="Bytes of the stored object.")]
    blake3: Annotated[Annotated[bytes, Meta(max_length=64)], Meta(description="BLAKE3-256 of them.")]


Receipts = Annotated[list[UploadReceipt], Meta(max_length=10_000)]


class VerifyUploads(Request, frozen=True):
    draft: UploadReceipt
    packs: Receipts = []


class Verified(Answer, frozen=True):
    checked: Annotated[Count, Meta(description="Packs that were read back by this call.")]


class PublishUploads(ChangeRequest, frozen=True, kw_only=True):
    draft: UploadReceipt
    packs: Receipts = []
    known_generation: Annotated[
        SeenGeneration | None,
        Meta(
            description="Answer the session's plan as well, of the generation that came of it and without the content "
            "of this one: what a client needs to go on."
        ),
    ] = None


class Published(Committed, frozen=True):
    plan: Annotated[
        SessionPlan | None,
        Meta(description="Null where none was asked for, or none could be had: ask for it by itself."),
    ] = None

    def without_plan(self) -> Committed:
        return Committed(**{name: getattr(self, name) for name in Committed.__struct_fields__})
