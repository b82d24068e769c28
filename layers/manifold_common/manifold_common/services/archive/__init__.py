"""Whole trees in and out as one stream: tar, tar.gz, zip."""

from manifold_common.services.archive.archives import ArchiveFormat, Archives

__all__ = ["ArchiveFormat", "Archives"]
