"""What the services say of plans and uploads, as the world hears it."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.domain.object_key import ObjectKey
from manifold_common.ids import parse_object_id
from manifold_common.services.direct.inspection import Receipt
from manifold_common.services.direct.plans import Grant, Plan, TreeGrant
from manifold_common.services.direct.session_plans import SessionPlan
from manifold_common.services.direct.uploads import Linked, Slot, Slots
from manifold_common.shapes import access as shapes


def grant_out(grant: Grant) -> shapes.ObjectGrant:
    seal = grant.seal
    return shapes.ObjectGrant(
        key=ObjectKey(seal.key),
        kind=int(seal.kind),
        object_id=seal.object_id,
        dek=seal.dek,
        object_key=grant.object_key,
        url=grant.url,
    )


def plan_out(plan: Plan, *, with_id_key: bool = False) -> shapes.Plan:
    """Args: ``with_id_key``: of a project's plan; a session's says it beside."""
    return shapes.Plan(
        tenant=plan.principal.tenant,
        user=plan.principal.user,
        project=plan.project,
        generation=plan.head.generation,
        commit=plan.head.commit,
        record_hash=plan.head.record_hash,
        skills_generation=plan.head.skills_generation,
        head_generation=plan.head_generation,
        tree=None if plan.tree is None else _tree_out(plan.tree),
        objects=list(map(grant_out, plan.objects)),
        objects_total=plan.objects_total,
        expires_at=plan.expires_at,
        known=None if plan.known is None else str(plan.known),
        id_key=plan.id_key if with_id_key else None,
    )


def session_plan_out(found: SessionPlan) -> shapes.SessionPlan:
    draft = found.draft
    return shapes.SessionPlan(
        session=found.session,
        opened_at=found.opened_at,
        expires_at=found.expires_at,
        paths=list(found.patterns),
        id_key=found.id_key,
        plan=plan_out(found.plan),
        draft=None if draft is None else shapes.GrantedDraft(commit=draft.commit, grant=grant_out(draft.grant)),
        dropped_draft=found.dropped_draft,
    )


def receipts_of(body: shapes.VerifyUploads) -> tuple[Receipt, list[Receipt]]:
    """Return the draft, and its packs."""
    draft, *packs = (Receipt(one.name, one.size, one.blake3) for one in (body.draft, *body.packs))
    return draft, packs


def slots_out(slots: Slots) -> shapes.UploadSlots:
    return shapes.UploadSlots(
        plan=None if slots.plan is None else plan_out(slots.plan),
        write_dek=slots.write_dek,
        id_key=slots.id_key,
        draft_commit=slots.draft_commit,
        draft=_slot_out(slots.draft),
        packs=list(map(_slot_out, slots.packs)),
    )


def links_out(links: Sequence[Linked]) -> shapes.UploadLinks:
    return shapes.UploadLinks(
        links=[
            shapes.UploadLink(name=parse_object_id(one.name), url=one.link.url, headers=dict(one.link.headers))
            for one in links
        ]
    )


def _slot_out(slot: Slot) -> shapes.UploadSlot:
    return shapes.UploadSlot(key=ObjectKey(slot.seal.key), object_id=slot.seal.object_id, object_key=slot.object_key)


def _tree_out(tree: TreeGrant) -> shapes.GrantedTree:
    return shapes.GrantedTree(grant=grant_out(tree.grant), data=tree.data)
