"""Whole trees in and out as one stream: tar, tar.gz, zip."""

from manifold_common.services.archive.archives import Archives
from manifold_common.services.archive.exported import ArchiveFormat, ExportedArchive

__all__ = ["ArchiveFormat", "Archives", "ExportedArchive"]
