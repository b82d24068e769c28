"""Whole trees in and out as one stream: tar, tar.gz, zip."""

from manifold_common.services.archive.archives import Archives
from manifold_common.services.archive.exported import ArchiveFormat

__all__ = ["ArchiveFormat", "Archives"]
