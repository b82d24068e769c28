"""What commands answer that are about this machine, its folders, or the installation. What the services answer is told
of in ``manifold_common.shapes``."""

from __future__ import annotations

from typing import Annotated, Any

from manifold_common.ids import ProjectId, SessionId
from manifold_common.shapes.backups import Backup
from manifold_common.shapes.base import Answer, Count, Moment
from manifold_common.shapes.jobs import Job
from manifold_common.shapes.page import Page
from manifold_common.shapes.sessions import Session
from msgspec import UNSET, Meta, UnsetType


class Adopted(Answer, frozen=True, kw_only=True):
    catalog: Annotated[str, Meta(description="Id of the catalog.")]
    incarnation: Annotated[str, Meta(description="Id of the installation, which no copy has.")]
    node: Annotated[str, Meta(description="Name of this machine in it.")]


class WorkingSetAside(Answer, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="For `leftovers remove`.")]
    session: Annotated[SessionId | None, Meta(description="Null: nobody knows.")]
    project: Annotated[ProjectId | None, Meta(description="Null: nobody knows.")]
    since: Moment
    reason: Annotated[str, Meta(description="Why it was set aside.")]
    path: Annotated[str, Meta(description="The directory that holds its files.")]
    bring_back: Annotated[
        str | None,
        Meta(description="A shell command that has its files in a new session; null: nobody knows its origin."),
    ]


class StrangeFolder(Answer, frozen=True, kw_only=True):
    path: Annotated[str, Meta(description="The folder of another installation, or of an older release.")]
    working_sets: Count


class Leftovers(Answer, frozen=True, kw_only=True):
    set_aside: list[WorkingSetAside]
    others: list[StrangeFolder]
    being_removed: Annotated[list[str], Meta(description="Folders whose removal has not come to its end.")]


class LeftoversRemoved(Answer, frozen=True, kw_only=True):
    removed: Annotated[list[str], Meta(description="Names of what was set aside.")]


class BackupList(Answer, frozen=True, kw_only=True):
    backups: Annotated[list[Backup], Meta(description="Oldest first.")]


class BackupsReleased(Answer, frozen=True, kw_only=True):
    released: Annotated[list[str], Meta(description="Their names.")]


class SetAside(Answer, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="For `leftovers remove`.")]
    path: Annotated[str, Meta(description="The directory that holds its files.")]


class SessionHere(Session, frozen=True):
    project_name: str
    has_working_set_here: Annotated[bool, Meta(description="Its working set is on this machine.")]


class SessionsHere(Page, frozen=True):
    items: Annotated[list[SessionHere], Meta(description="By id.")]


class RunningServer(Answer, frozen=True, kw_only=True):
    server: Annotated[str, Meta(description="What it serves.")]
    address: str
    pid: Annotated[int | None, Meta(description="Of its process; null: it has none of its own.")]
    log: Annotated[str, Meta(description="Path of its log file.")]


class RunningServers(Answer, frozen=True, kw_only=True):
    servers: list[RunningServer]
    config: Annotated[str, Meta(description="Path of a file with the settings to use them with, secrets included.")]
    clients: Annotated[str, Meta(description="Path of a file with variables for vault, redis-cli and mc.")]


class SettingWarning(Answer, frozen=True, kw_only=True):
    where: Annotated[str, Meta(description="File and line, or variable; empty: nothing in particular set it.")]
    key: Annotated[str, Meta(description="The setting; empty: it is about a file as a whole.")]
    message: str
    hint: Annotated[str, Meta(description="What to do, or empty.")]


class ConfigChecked(Answer, frozen=True, kw_only=True):
    ok: bool
    set: Annotated[Count, Meta(description="Settings that are given.")]
    warnings: list[SettingWarning]


class SettingInForce(Answer, frozen=True, kw_only=True):
    value: Annotated[Any, Meta(description="Masked where it is a secret.")]
    source: Annotated[str, Meta(description="Where it comes from: a variable, a file, `default`.")]


class ConfigShown(Answer, frozen=True, kw_only=True):
    settings: Annotated[dict[str, SettingInForce], Meta(description="By key.")]


class StorePrepared(Answer, frozen=True, kw_only=True):
    done: Annotated[list[str], Meta(description="For people: a sentence for each thing.")]


class Migrated(Answer, frozen=True, kw_only=True):
    applied: Annotated[list[str], Meta(description="Names of the migrations; empty: the schema was up to date.")]
    roles: Annotated[list[str], Meta(description="With `--roles`: the roles of the database.")] | UnsetType = UNSET


class RoleScript(Answer, frozen=True, kw_only=True):
    script: Annotated[str, Meta(description="For an administrator's psql.")]


class DatabaseStopped(Answer, frozen=True, kw_only=True):
    stopped: Annotated[bool, Meta(description="False: there is no embedded database here.")]


class JobsWorked(Answer, frozen=True, kw_only=True):
    finished: Annotated[Count, Meta(description="Items that this command has brought to an end.")]
    jobs: Annotated[list[Job], Meta(description="Those that it has worked on, as they are now.")]
