"""How much an archive may hold: the quotas, and a hard bound where there are none."""

from __future__ import annotations

from dataclasses import dataclass

from manifold_common.domain.quota import Limits
from manifold_common.errors import QuotaExceeded

MAX_ARCHIVE_BYTES = 100 << 30
MAX_ARCHIVE_ENTRIES = 1_000_000
MAX_RATIO = 200
"""An archive that expands further than this is taken for a bomb. Source code compresses to a fifth; logs to a
fiftieth; deflate reaches 1,030 on zeros."""
RATIO_FREE_BYTES = 64 << 20
"""The ratio counts only beyond so many expanded bytes: small things may be as repetitive as they like."""
_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    quotas: Limits
    max_bytes: int
    """Of all files together."""
    max_entries: int

    @classmethod
    def of(cls, quotas: Limits) -> ArchiveLimits:
        return cls(
            quotas,
            quotas.max_project_bytes or MAX_ARCHIVE_BYTES,
            quotas.max_files or MAX_ARCHIVE_ENTRIES,
        )

    def check_entries(self, count: int) -> None:
        """Raises QuotaExceeded."""
        if count > self.max_entries:
            raise QuotaExceeded(
                f"the archive has more than {self.max_entries} entries",
                hint="leave files out, or raise projects.quotas.maxFiles",
                limit=self.max_entries,
            )

    def check_bytes(self, size: int) -> None:
        """Raises QuotaExceeded. Args: ``size``: of the files so far."""
        if size > self.max_bytes:
            raise QuotaExceeded(
                f"the archive's files have more than {self.max_bytes} bytes",
                hint="leave files out, or raise projects.quotas.maxProjectBytes",
                limit=self.max_bytes,
            )

    def check_expansion(self, expanded: int, packed: int) -> None:
        """Raises QuotaExceeded. Args: how many bytes came out of how many."""
        if expanded > RATIO_FREE_BYTES and expanded > packed * MAX_RATIO:
            raise QuotaExceeded(
                f"the archive expands to more than {MAX_RATIO} times its size",
                hint="upload such files one by one, or as a tar without compression",
                limit=MAX_RATIO,
            )
        bound = self.max_bytes + self.max_entries * _HEADER_BYTES
        if expanded > bound:
            raise QuotaExceeded(f"the archive expands to more than {bound} bytes", hint="leave files out", limit=bound)
