"""Which bytes of something are wanted, as the Range header says it: from the first up to the last, one of them left out
perhaps."""

from __future__ import annotations

from typing import NamedTuple

from manifold_common.domain.wording import plural
from manifold_common.errors import UnsatisfiableRange


class ByteRange(NamedTuple):
    first: int | None
    """``None``: as many bytes at the end as ``last`` says."""
    last: int | None
    """Inclusive; ``None``: up to the end."""

    def within(self, size: int) -> tuple[int, int]:
        """Return (start, length) of what there is of it in ``size`` bytes. Raises UnsatisfiableRange: nothing."""
        if self.first is None:
            length = min(self.last or 0, size)
            start = size - length
        else:
            start = self.first
            length = (size if self.last is None else min(self.last + 1, size)) - start
        if length <= 0:
            raise UnsatisfiableRange(
                f"the range lies outside the {plural(size, 'byte')} that there are",
                hint="ask for bytes that exist",
                size=size,
            )
        return start, length
