"""Can these credentials do all that Manifold does in its store, and does the store keep what the port promises?

Each ability is tried by itself with a small object of its own, which is removed again, so that a gap in a policy shows
as the missing permission, and not as a failure of whichever request needs it first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from manifold_common.errors import AlreadyExists, ConfigError, ManifoldError
from manifold_common.ids import encode_id
from manifold_common.ports.clock import Randomness
from manifold_common.ports.object_store import ObjectStore
from manifold_common.shapes.store import Ability

FOLDER = "store-check"
_FIRST, _SECOND = bytes(range(256)) * 16, b"another"


@dataclass(frozen=True, slots=True)
class StoreReport:
    abilities: tuple[Ability, ...]

    @property
    def ok(self) -> bool:
        return all(ability.ok for ability in self.abilities)

    @property
    def missing(self) -> tuple[Ability, ...]:
        """What waiting will not mend."""
        return tuple(one for one in self.abilities if not one.ok and not one.passing)

    def require(self) -> None:
        """Raises ConfigError: something is missing that only an operator can give."""
        if self.missing:
            lines = [f"{one.name} ({one.permission}): {one.problem}" for one in self.missing]
            raise ConfigError(
                "the object store does not do what Manifold needs: " + "; ".join(lines),
                hint="`manifold store check` tries each ability again",
                missing=[one.permission for one in self.missing],
            )


def check_store(store: ObjectStore, randomness: Randomness) -> StoreReport:
    """Try every ability, in about eight requests, but nothing more of a store that is away.

    Never raises what a store does.
    """
    key = f"{FOLDER}/{encode_id(randomness.token(16))}"
    found: list[Ability] = []

    def attempt(name: str, permission: str, action: Callable[[], str]) -> bool:
        passing = False
        try:
            problem = action()
        except ManifoldError as error:
            problem, passing = str(error), bool(error.details.get("retryable"))
        found.append(Ability(name=name, permission=permission, ok=not problem, problem=problem, passing=passing))
        return not problem

    def list_folder() -> str:
        for _ in store.list(FOLDER):
            break
        return ""

    def create() -> str:
        store.put(key, _FIRST, if_absent=True)
        return ""

    def refuse_second() -> str:
        try:
            store.put(key, _SECOND, if_absent=True)
        except AlreadyExists:
            return ""
        return "the store has replaced an object that a conditional write must not replace: it ignores If-None-Match"

    def replace() -> str:
        store.put(key, _FIRST)
        return ""

    def read() -> str:
        return "" if bytes(store.get(key, max_bytes=1 << 20)) == _FIRST else "it answers other bytes than were written"

    def read_range() -> str:
        (part,) = store.get_ranges(key, [(256, 300)])
        return "" if bytes(part) == _FIRST[256:556] else "it answers another range than was asked for"

    def remove() -> str:
        store.delete([key])
        return "the object is still there" if store.head(key) is not None else ""

    if not attempt("list objects", "s3:ListBucket", list_folder) and found[0].passing:
        return StoreReport(tuple(found))
    if attempt("create an object", "s3:PutObject", create):
        attempt("refuse to create it twice", "conditional writes", refuse_second)
        attempt("replace an object", "s3:PutObject", replace)
        attempt("read an object", "s3:GetObject", read)
        attempt("read a range", "s3:GetObject", read_range)
        attempt("remove an object", "s3:DeleteObject", remove)
    return StoreReport(tuple(found))
