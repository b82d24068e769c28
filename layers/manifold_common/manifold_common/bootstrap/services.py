"""Every service, wired over one context when it is first asked for: a process loads and makes only what it uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:
    from manifold_common.domain.installation import Standing
    from manifold_common.engine.working_set.working_sets import WorkingSets
    from manifold_common.ports.key_provider import KeyProvider
    from manifold_common.ports.object_links import ObjectLinks
    from manifold_common.ports.served_store import ServedStore
    from manifold_common.ports.work_queue import WorkQueue
    from manifold_common.services.archive import Archives
    from manifold_common.services.collection.backups import Backups
    from manifold_common.services.collection.collector import Collector
    from manifold_common.services.collection.condemned import Condemned
    from manifold_common.services.collection.purge import Purge
    from manifold_common.services.collection.retention import Retention
    from manifold_common.services.collection.retention_settings import RetentionSettings
    from manifold_common.services.collection.schedule import CollectionSchedule
    from manifold_common.services.collection.tally import Tally
    from manifold_common.services.collection.usage import Usage
    from manifold_common.services.context import Context
    from manifold_common.services.deferred.deferred import Deferred
    from manifold_common.services.direct.plans import Plans
    from manifold_common.services.direct.served_objects import ServedObjects
    from manifold_common.services.direct.session_plans import SessionPlans
    from manifold_common.services.direct.uploads import Uploads
    from manifold_common.services.events.events import Events
    from manifold_common.services.events.feed import Feed
    from manifold_common.services.events.prefetch import Prefetcher
    from manifold_common.services.jobs.jobs import Jobs
    from manifold_common.services.jobs.worker import JobWorker
    from manifold_common.services.keys.key_inventory import KeyInventories
    from manifold_common.services.keys.rewrap import Rewrap
    from manifold_common.services.keys.rotation import Rotation
    from manifold_common.services.projects.deleted_projects import DeletedProjects
    from manifold_common.services.projects.edits import Edits
    from manifold_common.services.projects.forks import Forks
    from manifold_common.services.projects.history import History
    from manifold_common.services.projects.projects import Projects
    from manifold_common.services.projects.tags import Tags
    from manifold_common.services.projects.transfer import Transfer
    from manifold_common.services.publish import Publisher
    from manifold_common.services.resumable.rules import KeptRules
    from manifold_common.services.resumable.uploads import ResumableUploads
    from manifold_common.services.sessions.commit import Commits
    from manifold_common.services.sessions.drafts import Drafts
    from manifold_common.services.sessions.eviction import Eviction
    from manifold_common.services.sessions.leftovers import Leftovers
    from manifold_common.services.sessions.relocation import Relocation
    from manifold_common.services.sessions.session_files import SessionFiles
    from manifold_common.services.sessions.sessions import Sessions
    from manifold_common.services.upkeep.health import Health
    from manifold_common.services.upkeep.installation import Installations
    from manifold_common.services.upkeep.maintenance import Maintenance
    from manifold_common.services.upkeep.superseded import Superseded
    from manifold_common.services.verification.repair import Repair
    from manifold_common.services.verification.scrub import Scrub
    from manifold_common.services.verification.verify import Verify
    from manifold_common.settings import Settings

S = TypeVar("S")


class wired(Generic[S]):  # noqa: N801 - it is used as a decorator
    """A service that is made once, whichever thread asks for it first."""

    def __init__(self, make: Callable[[Any], S]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, manifold: None, owner: type) -> wired[S]: ...
    @overload
    def __get__(self, manifold: Manifold, owner: type) -> S: ...
    def __get__(self, manifold: Manifold | None, owner: type) -> wired[S] | S:
        if manifold is None:
            return self
        made = manifold.__dict__
        with manifold._wiring:
            if self._name not in made:
                made[self._name] = self._make(manifold)
        service: S = made[self._name]  # from now on Python finds it there by itself
        return service


class Manifold:
    """Every service. Close it when done."""

    def __init__(
        self,
        settings: Settings,
        context: Context,
        working_sets: WorkingSets,
        standing: Standing,
        installations: Installations,
        *,
        providers: dict[str, KeyProvider],
        links: ObjectLinks | None,
        served: ServedStore | None,
        work_queues: Mapping[str, WorkQueue],
        listens: bool,
        caches: bool,
        warnings: list[str],
    ) -> None:
        self.settings = settings
        self.context = context
        self.working_sets = working_sets
        self.standing = standing
        """Which installation this is, and whether it may be a copy; it then changes nothing."""
        self.installations = installations
        self.providers = providers
        self.links = links
        self.served = served
        self.work_queues = work_queues
        """What wakes functions that work on jobs, by the function. Where hosts look for jobs, there is none."""
        self.listens = listens
        """Whether other nodes can be heard of."""
        self.caches = caches
        """Whether sealed objects are kept on this machine."""
        self.warnings = warnings
        """What an operator should know, such as a RAM folder that could be swapped out."""
        self._wiring = RLock()

    def close(self) -> None:
        self.context.workers.close()
        self.context.generations.close()
        for queue in self.work_queues.values():
            queue.close()
        self.context.catalog.close()

    # --- projects and their content ---------------------------------------------------------------------------------

    @wired
    def projects(self) -> Projects:
        from manifold_common.services.projects.projects import Projects

        return Projects(self.context)

    @wired
    def deleted_projects(self) -> DeletedProjects:
        from manifold_common.services.projects.deleted_projects import DeletedProjects

        return DeletedProjects(self.context, self.projects)

    @wired
    def history(self) -> History:
        from manifold_common.services.projects.history import History

        return History(self.context, self.projects)

    @wired
    def tags(self) -> Tags:
        from manifold_common.services.projects.tags import Tags

        return Tags(self.context, self.projects)

    @wired
    def edits(self) -> Edits:
        from manifold_common.services.projects.edits import Edits

        return Edits(self.context, self.projects, self.publisher, self.tags)

    @wired
    def transfer(self) -> Transfer:
        from manifold_common.services.projects.transfer import Transfer

        return Transfer(self.context, self.history, self.edits, self.settings.own_folders)

    @wired
    def archives(self) -> Archives:
        from manifold_common.services.archive import Archives

        return Archives(self.context, self.history, self.edits, spool_folder=self.working_sets.folders.root)

    @wired
    def forks(self) -> Forks:
        from manifold_common.services.projects.forks import Forks

        return Forks(self.context, self.projects, self.history)

    @wired
    def verify(self) -> Verify:
        from manifold_common.services.verification.verify import Verify

        return Verify(self.context, self.projects)

    @wired
    def repair(self) -> Repair:
        from manifold_common.services.verification.repair import Repair
        from manifold_common.services.verification.working_copies import WorkingCopies

        return Repair(self.context, self.verify, self.projects, WorkingCopies(self.working_sets.folders))

    @wired
    def publisher(self) -> Publisher:
        from manifold_common.services.publish import Publisher

        return Publisher(self.context)

    # --- sessions ---------------------------------------------------------------------------------------------------

    @wired
    def sessions(self) -> Sessions:
        from manifold_common.services.sessions.sessions import Sessions

        return Sessions(self.context, self.session_files, self.relocation, self.projects)

    @wired
    def relocation(self) -> Relocation:
        from manifold_common.services.sessions.relocation import Relocation

        return Relocation(self.context, self.session_files)

    @wired
    def commits(self) -> Commits:
        from manifold_common.services.sessions.commit import Commits

        return Commits(self.context, self.session_files, self.sessions, self.drafts, self.publisher)

    @wired
    def drafts(self) -> Drafts:
        from manifold_common.services.sessions.drafts import Drafts

        return Drafts(self.context, self.working_sets)

    @wired
    def session_files(self) -> SessionFiles:
        from manifold_common.services.kept_work import KeptWork
        from manifold_common.services.sessions.generation_source import LogGenerationSource
        from manifold_common.services.sessions.session_files import SessionFiles

        return SessionFiles(LogGenerationSource(self.context), self.working_sets, KeptWork(self.context))

    @wired
    def leftovers(self) -> Leftovers:
        from manifold_common.services.sessions.leftovers import Leftovers

        return Leftovers(self.working_sets, self.standing, lambda opened: self.relocation.depart(opened))

    @wired
    def eviction(self) -> Eviction:
        from manifold_common.services.sessions.eviction import Eviction

        return Eviction(
            self.context,
            self.working_sets,
            lambda opened: self.commits.save_open(opened),
            lambda opened: self.relocation.depart(opened),
        )

    # --- clients that read and store content themselves -------------------------------------------------------------

    @wired
    def plans(self) -> Plans:
        from manifold_common.services.direct.plans import Plans

        links = self.links or self.served_objects
        return Plans(self.context, self.history, links, self.settings.projects.s3.link_seconds)

    @wired
    def served_objects(self) -> ServedObjects | None:
        """For clients that cannot reach the store. ``None``: they can, or this process does not hand on its objects."""
        if self.served is None:
            return None
        from manifold_common.services.direct.served_objects import ServedObjects

        return ServedObjects(self.served, self.context.store, self.context.clock, self.standing)

    @wired
    def session_plans(self) -> SessionPlans:
        from manifold_common.services.direct.session_plans import SessionPlans

        return SessionPlans(self.context, self.sessions, self.plans)

    @wired
    def uploads(self) -> Uploads:
        from manifold_common.services.direct.uploads import Uploads

        return Uploads(self.context, self.sessions, self.commits, self.publisher, self.plans)

    # --- files that arrive in parts ---------------------------------------------------------------------------------

    @wired
    def resumable_uploads(self) -> ResumableUploads:
        from manifold_common.services.resumable.uploads import ResumableUploads

        return ResumableUploads(self.context, self.projects, self.edits, self.kept_rules)

    @wired
    def deferred(self) -> Deferred:
        from manifold_common.services.deferred.deferred import Deferred
        from manifold_common.services.resumable.kept_requests import KeptRequests

        kept = KeptRequests(self.context, self.kept_rules)
        return Deferred(self.context, kept, self.jobs, self.projects, self.tags, self.edits, self.archives)

    @wired
    def kept_rules(self) -> KeptRules:
        from manifold_common.services.resumable.rules import KeptRules

        chosen = self.settings.projects.resumable_uploads
        return KeptRules(timedelta(days=chosen.kept_days), chosen.max_per_project, chosen.max_per_tenant)

    # --- upkeep -----------------------------------------------------------------------------------------------------

    @wired
    def retention(self) -> Retention:
        from manifold_common.domain.garbage import Rules
        from manifold_common.services.collection.retention import Retention

        chosen, grace = self.settings.projects.retention, self.settings.projects.maintenance.garbage_grace_seconds
        return Retention(self.context, Rules(chosen.generations, chosen.days, timedelta(seconds=grace)))

    @wired
    def collector(self) -> Collector:
        from manifold_common.services.collection.collector import Collector
        from manifold_common.services.collection.compaction import Compaction

        chosen = self.settings.projects.maintenance
        compaction = Compaction(self.context, chosen.compact_below_percent)
        grace = chosen.garbage_grace_seconds
        return Collector(self.context, self.retention, compaction, grace, self.collection_tally)

    @wired
    def collection_tally(self) -> Tally:
        from manifold_common.services.collection.tally import Tally

        return Tally()

    @wired
    def retention_settings(self) -> RetentionSettings:
        from manifold_common.services.collection.retention_settings import RetentionSettings

        return RetentionSettings(self.context, self.projects, self.retention)

    @wired
    def collection_schedule(self) -> CollectionSchedule:
        from manifold_common.services.collection.schedule import CollectionSchedule

        hours = self.settings.projects.maintenance.collection_hours
        return CollectionSchedule(self.context.catalog, self.jobs, self.context.clock, hours)

    @wired
    def usage(self) -> Usage:
        from manifold_common.services.collection.usage import Usage

        return Usage(self.context, self.projects, self.collector, self.working_sets)

    @wired
    def condemned(self) -> Condemned:
        from manifold_common.services.collection.condemned import Condemned

        grace = self.settings.projects.maintenance.garbage_grace_seconds
        return Condemned(self.context, grace, self.collection_tally)

    @wired
    def purge(self) -> Purge:
        from manifold_common.services.collection.purge import Purge

        return Purge(self.context, self.settings.projects.retention.deleted_project_days)

    @wired
    def backups(self) -> Backups:
        from manifold_common.services.collection.backups import Backups

        return Backups(self.context.catalog)

    @wired
    def superseded(self) -> Superseded:
        from manifold_common.services.upkeep.superseded import Superseded

        return Superseded(self.context, self.settings.projects.maintenance.garbage_grace_seconds)

    @wired
    def maintenance(self) -> Maintenance:
        from manifold_common.services.upkeep.maintenance import CheckpointRule, Maintenance

        rule = CheckpointRule(commits=self.settings.projects.maintenance.checkpoint_commits)
        return Maintenance(self.context, self.working_sets, self.commits, self.relocation, rule)

    @wired
    def jobs(self) -> Jobs:
        from manifold_common.bootstrap.jobs import KINDS
        from manifold_common.services.jobs.jobs import Jobs, Offer

        def wake(kind: str) -> None:
            queue = self.work_queues.get(KINDS[kind].function) if kind in KINDS else None
            if queue is not None:
                queue.wake_all()

        kinds = {name: Offer(kind.params, partial(kind.check, self)) for name, kind in KINDS.items()}
        chosen = self.settings.projects.maintenance
        kept_days = max(chosen.jobs_kept_days, chosen.collection_hours / 24)  # the last collection is to be known
        return Jobs(self.context, self.projects, kinds, kept_days=kept_days, wake=wake)

    @wired
    def job_worker(self) -> JobWorker:
        from manifold_common.bootstrap.jobs import makers
        from manifold_common.services.jobs.worker import JobWorker

        return JobWorker(self.context, makers(self))

    @wired
    def rewrap(self) -> Rewrap:
        from manifold_common.services.keys.rewrap import Rewrap

        current = self.key_provider
        return Rewrap(self.context, self.providers, None if current is None else self.providers[current])

    @wired
    def rotation(self) -> Rotation:
        from manifold_common.services.keys.rotation import Rotation

        return Rotation(self.rewrap, self.jobs, self.context.clock, self.settings.projects.encryption.rotation.kek_days)

    @wired
    def scrub(self) -> Scrub:
        from manifold_common.services.verification.scrub import Scrub

        return Scrub(self.context, self.jobs, self.settings.projects.maintenance.scrub_percent)

    @wired
    def key_inventories(self) -> KeyInventories:
        from manifold_common.services.keys.key_inventory import KeyInventories

        return KeyInventories(self.context, self.rewrap)

    @wired
    def events(self) -> Events:
        from manifold_common.bootstrap.sinks import event_sinks
        from manifold_common.services.events.events import Events

        return Events(
            self.context,
            event_sinks(self.settings),
            kept_days=self.settings.projects.events.retention_days,
            base_url=self.settings.server.public_url or "",
        )

    @wired
    def feed(self) -> Feed:
        from manifold_common.services.events.feed import Feed

        return Feed(self.context, base_url=self.settings.server.public_url or "")

    @wired
    def health(self) -> Health:
        from manifold_common.bootstrap.sinks import sink_probes
        from manifold_common.services.upkeep.health import Health

        return Health(
            self.context,
            self.working_sets,
            self.providers,
            self.events,
            provider_in_use=self.key_provider,
            cache_folder=self.settings.projects.workspace.cache_dir,
            workdir=self.settings.workdir,
            hears_through=("redis" if self.settings.projects.redis.enabled else "kafka") if self.listens else None,
            probes=sink_probes(self.settings),
            doubt=self.standing.doubt,
        )

    @wired
    def prefetcher(self) -> Prefetcher | None:
        """For a process that lives long: fetches in advance what other nodes commit. ``None``: nothing to hear or
        keep."""
        from manifold_common.services.events.prefetch import Prefetcher

        return Prefetcher(self.context, self.working_sets) if self.listens and self.caches else None

    @property
    def key_provider(self) -> str | None:
        """The name of the provider that wraps new keys; ``None``: projects are not encrypted."""
        projects = self.settings.projects
        return projects.encryption.provider if projects.encrypt else None
