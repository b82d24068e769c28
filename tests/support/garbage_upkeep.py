"""How projects and sessions end and come back in a world of projects, backups of it, and repairs."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import NotFound
from manifold_common.format.layout import project_prefix
from manifold_common.format.sealed import MAX_RAW_BYTES
from manifold_common.services.collection.purge import Purge

from tests.support.garbage import TENANT
from tests.support.garbage_model import Backup, Doing, Line, Session
from tests.support.garbage_uploads import Uploads
from tests.support.steps import Steps

_LONG_AGO = timedelta(days=-3)
"""Since when a session is over whose machine is gone."""


class Upkeep(Uploads):
    def keys(self) -> set[str]:
        return {one.key for line in self.lines for one in self.store.list(project_prefix(TENANT, line.project))}

    # --- projects -----------------------------------------------------------------------------------------------------

    def drop(self, node: str, line: Line) -> None:
        """Delete a project."""
        self.at_once(node)
        self.nodes[node].projects.delete(LOCAL_PRINCIPAL, line.project)
        line.is_alive = False
        for session in self.sessions:
            if session.line is line and session.is_open:
                session.is_open, session.is_asleep = False, session.draft is not None

    def undelete(self, node: str, line: Line) -> None:
        """Bring a project back, with the saved work of its sessions, if it was not purged."""
        self.at_once(node)
        if line.is_purged:
            with pytest.raises(NotFound):
                self.nodes[node].deleted_projects.undelete(LOCAL_PRINCIPAL, line.project)
            return
        self.nodes[node].deleted_projects.undelete(LOCAL_PRINCIPAL, line.project)
        line.is_alive = True
        for session in self.sessions:
            if session.line is line and session.is_asleep:
                session.is_open, session.is_left, session.is_asleep = True, True, False

    def purge(self, *, stops: bool = False) -> Steps:
        """Have the deleted projects give up what they hold, as if their time were over."""
        name = f"purger-{next(self._numbers)}"
        context = self.build(name).context
        return self.do("purge", Purge(context, 0).sweep, None, stops, 0, name, lambda *_: self.leaving.append(name))

    # --- sessions that are over ---------------------------------------------------------------------------------------

    def evict(self, session: Session) -> Steps:
        """A session's time is over, and its machine sees to that: what has changed is saved."""
        self.at_once(session.node)
        self.catalog.prolong_session(TENANT, LOCAL_PRINCIPAL.user, session.name, _LONG_AGO)

        def after(_result: Any, _error: BaseException | None) -> None:
            session.node = ""

        run, doing = self.nodes[session.node].maintenance.sweep_working_sets, Doing(lambda _: {}, session=session)
        return self.do("evict", run, doing, False, node=session.node, after=after)

    def forget_session(self, node: str, session: Session) -> None:
        """A session's time is over, and its machine does not see to that: only what was saved stays."""
        self.at_once(node)
        self.catalog.prolong_session(TENANT, LOCAL_PRINCIPAL.user, session.name, _LONG_AGO)
        had_draft = session.draft is not None
        self.nodes[node].maintenance.sweep_sessions()
        assert session.is_open is had_draft
        session.is_left = True

    # --- backups ------------------------------------------------------------------------------------------------------

    def declare(self) -> None:
        backup = Backup(self.new_name("b"), set())
        self.judge.backups.declare(backup.name, 1)
        for line in self.lines:
            backup.needed |= self.reachability.needed(TENANT, line.project, uploads=False)
        self.backups.append(backup)

    def release(self, backup: Backup) -> None:
        self.judge.backups.release([backup.name])
        self.backups.remove(backup)

    # --- repairs ------------------------------------------------------------------------------------------------------

    def repair(self, node: str, line: Line, which: int) -> None:
        """Damage an object, repair the project, and bring back what that could not."""
        self.at_once(node)
        prefix = project_prefix(TENANT, line.project)
        objects = sorted(key for key in self.reachability.needed(TENANT, line.project) if key.startswith(prefix))
        key = objects[which % len(objects)]
        good = bytes(self.store.get(key, max_bytes=MAX_RAW_BYTES))
        self.store.put(key, good[:-1] + bytes([good[-1] ^ 1]))
        repair = self.nodes[node].repair
        logging.disable(logging.CRITICAL)
        try:
            repair.run(LOCAL_PRINCIPAL, line.project, read_data=True)
            self.store.put(key, good)
            report = repair.run(LOCAL_PRINCIPAL, line.project, read_data=True)
        finally:
            logging.disable(logging.NOTSET)
        assert report.ok, report.left
