"""Dumps of the catalog that somebody may go back to."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from manifold_common.shapes.base import Dated, Moment


class Backup(Dated, frozen=True, kw_only=True):
    name: str
    declared_at: Moment
    expires_at: Annotated[Moment, Meta(description="Until then, what it refers to stays in the store.")]
    over: Annotated[bool, Meta(description="That time is over.")]
