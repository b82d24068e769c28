"""Plans and uploads, as JSON says them. Keys and bytes are base64; nothing of them is ever logged."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime

from manifold_common.domain.conflict import Strategy
from manifold_common.services.direct.inspection import Receipt
from manifold_common.services.direct.plans import MAX_OBJECTS, Grant, Plan, TreeGrant
from manifold_common.services.direct.session_plans import SessionPlan
from manifold_common.services.direct.uploads import MAX_SLOTS, Linked, Slot, Slots
from pydantic import BaseModel, Field, StrictBool, StrictInt

from functions.shapes.base import (
    DROP_LOST_DRAFT,
    DROPPED_DRAFT,
    BoundedList,
    GenerationNumber,
    Message,
    Provenance,
    SeenGeneration,
    Shape,
)
from functions.shapes.paths import bytes_of
from functions.shapes.sessions import CommittedOut

_ID = r"^[a-z2-7]{26}$"


# --- plans ------------------------------------------------------------------------------------------------------


class GrantOut(BaseModel):
    """What it takes to read one stored object (docs/format-v1.md says what is in it)."""

    key: str = Field(description="The object's name, which its seal is bound to.")
    kind: int = Field(description="Kind of the object: 1 pack, 2 commit object, 3 checkpoint.")
    object_id: str
    dek: str = Field(description="Id of the data key, which is not given.")
    object_key: str = Field(description="Key of this object alone, base64; empty for an object without encryption.")
    url: str = Field(
        description="Link to its bytes, on this server if it begins with `/`; empty where they come along."
    )


class TreeOut(BaseModel):
    grant: GrantOut
    data: str | None = Field(description="The whole checkpoint object, base64; null when it is read by its link.")


class PlanOut(BaseModel):
    """All that is needed to read one generation from the object store."""

    tenant: str
    user: str
    project: str
    generation: int
    commit: str | None
    record_hash: str = Field(description="Keyed hash of the generation's commit record, base64.")
    skills_generation: int
    head_generation: int = Field(description="The project's newest.")
    tree: TreeOut | None = Field(description="Null for generation 0, and where `first` is not 0.")
    objects: list[GrantOut] = Field(description=f"At most {MAX_OBJECTS}; ask for the rest with `first`.")
    objects_total: int
    expires_at: datetime = Field(description="When the links end. Plan again then.")
    known: str | None = Field(
        description="What `known_generation` stands for, as `7-<commit id>`: its content was left out. Null: nothing "
        "was, since the project's history does not have it."
    )


class ProjectPlanOut(PlanOut):
    id_key: str | None = Field(
        description="Key that names chunks, base64, by which the content of objects without encryption is proven. "
        "Null: none of `objects` is without."
    )


class DraftOut(BaseModel):
    commit: str
    grant: GrantOut


class SessionPlanOut(BaseModel):
    session: str
    opened_at: datetime
    expires_at: datetime
    paths: list[str] = Field(description="What the session is restricted to; empty: nothing.")
    id_key: str = Field(description="Key that names chunks, base64. It opens nothing.")
    plan: PlanOut
    draft: DraftOut | None = Field(description="Saved work to bring back: changes to the plan's generation.")
    dropped_draft: str | None = Field(description=DROPPED_DRAFT)


class ProjectPlanIn(Shape):
    generation: GenerationNumber | None = Field(default=None, description="The newest by default.")
    paths: BoundedList[str] = Field(default=[], max_length=1000, description="Only what matches (gitignore syntax).")
    known_generation: SeenGeneration | None = Field(
        default=None, description="Leave out what the client has: the content of this generation."
    )
    first: StrictInt = Field(default=0, ge=0, description="Number of the first object.")
    content: StrictBool = Field(default=True, description="False: the tree alone.")


class SessionPlanIn(ProjectPlanIn):
    project: str | None = Field(default=None, description="Name or id. Needed to open a session.")
    restore: StrictBool = Field(default=False, description="The client has no working set: bring saved work back.")
    seen_generation: SeenGeneration | None = None
    drop_lost_draft: StrictBool = Field(default=False, description=DROP_LOST_DRAFT)


def grant_out(grant: Grant) -> GrantOut:
    seal = grant.seal
    return GrantOut(
        key=seal.key,
        kind=int(seal.kind),
        object_id=seal.object_id,
        dek=seal.dek,
        object_key=_base64(grant.object_key),
        url=grant.url,
    )


def plan_out(plan: Plan) -> PlanOut:
    return PlanOut(
        tenant=plan.principal.tenant,
        user=plan.principal.user,
        project=plan.project,
        generation=plan.head.generation,
        commit=plan.head.commit,
        record_hash=_base64(plan.head.record_hash),
        skills_generation=plan.head.skills_generation,
        head_generation=plan.head_generation,
        tree=None if plan.tree is None else _tree_out(plan.tree),
        objects=[grant_out(grant) for grant in plan.objects],
        objects_total=plan.objects_total,
        expires_at=plan.expires_at,
        known=None if plan.known is None else str(plan.known),
    )


def project_plan_out(plan: Plan) -> ProjectPlanOut:
    id_key = None if plan.id_key is None else _base64(plan.id_key)
    return ProjectPlanOut(**dict(plan_out(plan)), id_key=id_key)


def session_plan_out(found: SessionPlan) -> SessionPlanOut:
    draft = found.draft
    return SessionPlanOut(
        session=found.session,
        opened_at=found.opened_at,
        expires_at=found.expires_at,
        paths=list(found.patterns),
        id_key=_base64(found.id_key),
        plan=plan_out(found.plan),
        draft=None if draft is None else DraftOut(commit=draft.commit, grant=grant_out(draft.grant)),
        dropped_draft=found.dropped_draft,
    )


def _tree_out(tree: TreeGrant) -> TreeOut:
    return TreeOut(grant=grant_out(tree.grant), data=None if tree.data is None else _base64(tree.data))


# --- uploads ----------------------------------------------------------------------------------------------------


class UploadsIn(Shape):
    base_generation: SeenGeneration = Field(description="What the draft is made on.")
    packs: StrictInt = Field(default=1, ge=0, le=MAX_SLOTS)
    draft: str | None = Field(default=None, pattern=_ID, description="No new draft, but more packs of this one.")


class SlotOut(BaseModel):
    """One object that the client may store, once it has a link for it."""

    key: str
    object_id: str
    object_key: str = Field(description="Key to seal it with, base64; empty without encryption.")


class SlotsOut(BaseModel):
    plan: PlanOut | None = Field(description="The tree that the draft is made on; null for more packs of a draft.")
    write_dek: str = Field(description="Id of the data key that new objects name.")
    id_key: str = Field(description="Key that names chunks, base64. It opens nothing.")
    draft_commit: str = Field(description="Id of the draft, a commit object.")
    draft: SlotOut
    packs: list[SlotOut]


class SizeIn(Shape):
    name: str = Field(pattern=_ID, description="A pack's id, or the draft's commit id.")
    size: StrictInt = Field(
        ge=1, le=2**40, description="Bytes of the object as it will be stored. Once told, it stays."
    )


class LinksIn(Shape):
    uploads: BoundedList[SizeIn] = Field(min_length=1, max_length=MAX_SLOTS)


class LinkOut(BaseModel):
    """The right to store one object, once, with the length that was told."""

    name: str
    url: str = Field(description="PUT the object here: on this server if it begins with `/`.")
    headers: dict[str, str] = Field(description="To be sent with it, exactly so.")


class LinksOut(BaseModel):
    links: list[LinkOut]


class ReceiptIn(Shape):
    name: str = Field(pattern=_ID, description="A pack's id, or the draft's commit id.")
    size: StrictInt = Field(ge=1, le=2**40, description="Bytes of the stored object.")
    blake3: str = Field(description="BLAKE3-256 of them, base64.")

    def receipt(self) -> Receipt:
        """Raises InvalidInput: the checksum is not base64."""
        return Receipt(self.name, self.size, bytes_of(self.blake3, "blake3"))


class VerifyIn(Shape):
    draft: ReceiptIn
    packs: BoundedList[ReceiptIn] = Field(default=[], max_length=10_000)

    def receipts(self) -> list[Receipt]:
        return [pack.receipt() for pack in self.packs]


class VerifiedOut(BaseModel):
    checked: int = Field(description="Packs that were read back by this call.")


class PublishIn(VerifyIn):
    message: Message = ""
    provenance: Provenance = Field(default={})
    strategy: Strategy = Strategy.FAIL
    expected_generation: SeenGeneration | None = None
    known_generation: SeenGeneration | None = Field(
        default=None,
        description="Answer the session's plan as well, of the generation that came of it and without the content of "
        "this one: what a client needs to go on.",
    )


class PublishedOut(CommittedOut):
    plan: SessionPlanOut | None = Field(
        default=None, description="Null where none was asked for, or none could be had: ask for it by itself."
    )


def slots_out(slots: Slots) -> SlotsOut:
    return SlotsOut(
        plan=None if slots.plan is None else plan_out(slots.plan),
        write_dek=slots.write_dek,
        id_key=_base64(slots.id_key),
        draft_commit=slots.draft_commit,
        draft=_slot_out(slots.draft),
        packs=[_slot_out(slot) for slot in slots.packs],
    )


def _slot_out(slot: Slot) -> SlotOut:
    return SlotOut(
        key=slot.seal.key,
        object_id=slot.seal.object_id,
        object_key=_base64(slot.object_key),
    )


def links_out(links: Sequence[Linked]) -> LinksOut:
    return LinksOut(links=[LinkOut(name=one.name, url=one.link.url, headers=dict(one.link.headers)) for one in links])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
