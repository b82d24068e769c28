"""An encrypted project's plaintext lies in RAM or nowhere, whatever mode the process that meets it was set up for.

Encryption belongs to the project, the working-set mode to the machine. A machine that keeps working sets on a disk, for
projects that are not encrypted, may have an encrypted one in its catalog too: it is read and written as ever, but no
folder of it is made there, brought to another generation, or worked on, and no archive of it is spooled there. A folder
from before the project was encrypted is left as it is: its changes can be saved, sealed, and checked out where there is
RAM.
"""

from __future__ import annotations

import os

from manifold_common.engine.data_keys import DataKeys
from manifold_common.errors import RamUnavailable
from manifold_common.ids import PLAIN, ProjectId, TenantId

_EPHEMERAL = (
    "set projects.workspace.mode to ephemeral (or PROJECTS_WORKSPACE_MODE=ephemeral), with projects.workspace.tmpfsDir "
    "on a RAM file system"
)


class Plaintext:
    """Where plaintext may be on this machine."""

    def __init__(self, keys: DataKeys, *, in_ram: bool) -> None:
        """
        Args:
            in_ram: working sets, and archives while they are read, lie in memory. Then nobody is asked anything.
        """
        self._keys = keys
        self._in_ram = in_ram

    def refuse_folder(self, tenant: TenantId, project: ProjectId, folder: str, *, session: str | None = None) -> None:
        """Refuse to work on an encrypted project's plaintext where it would lie on a disk.

        Args:
            folder: where the working set is or would be.
            session: its changes can be saved, if the folder is there.

        Raises:
            RamUnavailable: what to set, and what to do with a folder that is there. NotFound.
        """
        if not self._is_exposed(tenant, project):
            return
        if not os.path.isdir(folder):
            raise RamUnavailable(
                f"project {project} is encrypted, and working sets of this machine lie on a disk, in plaintext",
                hint=f"{_EPHEMERAL}, then check it out again",
            )
        name = session or "SESSION"
        raise RamUnavailable(
            f"project {project} is encrypted, and a working set of it lies on a disk, in plaintext: {folder}",
            hint=f"it was left as it is. To bring what is not committed into RAM: 'manifold save {name}'; {_EPHEMERAL}"
            f"; 'manifold checkout {project} --session {name}'. Remove the folder when you have what you need of it",
            folder=folder,
        )

    def refuse_spool(self, tenant: TenantId, project: ProjectId) -> None:
        """Refuse to spool an archive of an encrypted project's content to a disk. Raises RamUnavailable, NotFound."""
        if self._is_exposed(tenant, project):
            raise RamUnavailable(
                f"project {project} is encrypted, and a zip is kept aside while it is read, here on a disk, in "
                "plaintext",
                hint=f"send a tar.gz, which is read as it comes; or {_EPHEMERAL}",
            )

    def _is_exposed(self, tenant: TenantId, project: ProjectId) -> bool:
        """Tell whether plaintext of an encrypted project would get onto a disk here. Raises NotFound."""
        return not (self._in_ram or self._keys.of(tenant, project).trusts(PLAIN))
