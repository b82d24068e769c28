"""What a project and a session may hold. 0 means unlimited."""

from __future__ import annotations

from dataclasses import dataclass

from manifold_common.domain.arguments import checked_count
from manifold_common.domain.wording import plural
from manifold_common.errors import QuotaExceeded


@dataclass(frozen=True, slots=True)
class Limits:
    max_project_bytes: int = 0
    max_files: int = 0
    max_file_bytes: int = 0
    max_session_ram_bytes: int = 0

    def __post_init__(self) -> None:
        """Raises InvalidInput: a limit is not a whole number from 0."""
        for name in self.__slots__:
            checked_count(getattr(self, name), name)

    def check_file(self, shown_path: str, size: int) -> None:
        """Raises QuotaExceeded when one file of ``size`` bytes is too large."""
        if self.max_file_bytes and size > self.max_file_bytes:
            raise QuotaExceeded(
                f"{shown_path!r} has {plural(size, 'byte')}, over the limit of {self.max_file_bytes} for one file",
                hint="leave it out with .manifoldignore, or raise projects.quotas.maxFileBytes",
                path=shown_path,
                limit=self.max_file_bytes,
            )

    def check_project(self, total_bytes: int, total_files: int) -> None:
        """Raises QuotaExceeded when a project would hold too many bytes or entries."""
        if self.max_project_bytes and total_bytes > self.max_project_bytes:
            raise QuotaExceeded(
                f"the project would hold {plural(total_bytes, 'byte')}, over the limit of {self.max_project_bytes}",
                hint="remove files, or raise projects.quotas.maxProjectBytes",
                limit=self.max_project_bytes,
            )
        if self.max_files and total_files > self.max_files:
            raise QuotaExceeded(
                f"the project would hold {total_files} files and folders, over the limit of {self.max_files}",
                hint="remove files, or raise projects.quotas.maxFiles",
                limit=self.max_files,
            )

    def check_session(self, total_bytes: int) -> None:
        """Raises QuotaExceeded when a working set would take too much memory."""
        if self.max_session_ram_bytes and total_bytes > self.max_session_ram_bytes:
            raise QuotaExceeded(
                f"the working set needs {plural(total_bytes, 'byte')} of RAM, over the limit of "
                f"{self.max_session_ram_bytes} for one session",
                hint="check out fewer paths with --path, or raise projects.quotas.maxSessionRamBytes",
                limit=self.max_session_ram_bytes,
            )


UNLIMITED = Limits()
