"""How much an archive may hold: the quotas, and hard bounds where there are none.

Sums are bounded, not single items: what describes entries is held against how many entries there were, and what is
packed against what came out of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from manifold_common.domain.quota import Limits
from manifold_common.domain.wording import plural
from manifold_common.errors import QuotaExceeded

MAX_ARCHIVE_BYTES = 100 << 30
MAX_ARCHIVE_ENTRIES = 1_000_000
MAX_RATIO = 200
"""An archive that expands further than this is taken for a bomb. Source code compresses to a fifth; logs to a
fiftieth; deflate reaches 1,030 on zeros."""
RATIO_FREE_BYTES = 64 << 20
"""The ratio counts only beyond so many expanded bytes: small things may be as repetitive as they like."""

FREE_HEADER_BYTES = 8 << 20
HEADER_BYTES_OF_AN_ENTRY = 16 << 10
"""Of a tar's headers that only describe entries, on average. Usual are 1 KiB; extended attributes can take 64."""
FREE_HEADER_RECORDS = 50_000
HEADER_RECORDS_OF_AN_ENTRY = 32
"""On average. Usual are 1 to 8. Each takes about a microsecond, however short it is."""

FREE_GZIP_MEMBERS = 1024
BYTES_OF_A_GZIP_MEMBER = 1024
"""That come out of each, on average. Programs that pack in parallel make members of 64 KiB or more."""
FREE_PACKED_BYTES = 1 << 20
"""Beyond these, what is packed is no longer than what comes out: compressing never makes much of nothing."""
_PACKED_OVERHEAD = 50
"""One part in so many may be added by packing."""
_HEADER_BYTES = 4096
_HARMFUL = "it is damaged, or made to do harm; make the archive again"


@dataclass(slots=True)
class ArchiveLimits:
    """Of one archive. Counts what its headers say."""

    quotas: Limits
    max_bytes: int
    """Of all files together."""
    max_entries: int
    _header_bytes: int = field(default=0, init=False)
    _header_records: int = field(default=0, init=False)

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
                f"the archive has more than {plural(self.max_entries, 'entry')}",
                hint="leave files out, or raise projects.quotas.maxFiles",
                limit=self.max_entries,
            )

    def check_bytes(self, size: int) -> None:
        """Raises QuotaExceeded. Args: ``size``: of the files so far."""
        if size > self.max_bytes:
            raise QuotaExceeded(
                f"the archive's files have more than {plural(self.max_bytes, 'byte')}",
                hint="leave files out, or raise projects.quotas.maxProjectBytes",
                limit=self.max_bytes,
            )

    def take_header(self, size: int, records: int, entries: int) -> None:
        """Count a header that only describes entries. Raises QuotaExceeded: there was too much in all of them.

        Args:
            size, records: its bytes, and how many facts it states.
            entries: how many entries there have been.
        """
        self._header_bytes += size
        self._header_records += records
        for what, found, limit in (
            ("bytes", self._header_bytes, FREE_HEADER_BYTES + entries * HEADER_BYTES_OF_AN_ENTRY),
            ("records", self._header_records, FREE_HEADER_RECORDS + entries * HEADER_RECORDS_OF_AN_ENTRY),
        ):
            if found > limit:
                raise QuotaExceeded(
                    f"the headers of the archive's first {plural(entries, 'entry')} have {found} {what}, over the "
                    f"limit of {limit} for so many",
                    hint=f"leave extended attributes out; else {_HARMFUL}",
                    limit=limit,
                )

    def check_members(self, members: int, expanded: int) -> None:
        """Raises QuotaExceeded: too little came out of too many gzip members in a row."""
        limit = FREE_GZIP_MEMBERS + expanded // BYTES_OF_A_GZIP_MEMBER
        if members > limit:
            raise QuotaExceeded(
                f"the archive is {members} gzip streams in a row, over the limit of {limit} for "
                f"{plural(expanded, 'byte')}",
                hint=_HARMFUL,
                limit=limit,
            )

    def check_yield(self, expanded: int, packed: int) -> None:
        """Raises QuotaExceeded: too few bytes came out of too many."""
        limit = FREE_PACKED_BYTES + expanded + expanded // _PACKED_OVERHEAD
        if packed > limit:
            raise QuotaExceeded(
                f"{packed} packed bytes of the archive hold {expanded}, and more than {limit} for these is too much",
                hint=_HARMFUL,
                limit=limit,
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
            raise QuotaExceeded(
                f"the archive expands to more than {plural(bound, 'byte')}", hint="leave files out", limit=bound
            )
