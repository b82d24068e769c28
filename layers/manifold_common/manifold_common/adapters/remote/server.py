"""A Manifold server, over its HTTP API.

What may be sent again is sent again when the connection breaks or a gateway is overtasked: reads and plans always, a
publication because it has a name (``Idempotency-Key``), so that it happens once. Of a change whose answer never came,
it is said that its outcome is not known (``OutcomeUnknown``), and not that it failed. Redirects are not followed:
nothing is to be sent to an address that the user has not named. An answer is bounded in length and in time, and decoded
into types that hold nothing but what such an answer can hold. None is taken before a check has found that it is about
what was asked for (``shapes/answer_checks.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from manifold_common.adapters.remote.bodies import exchange, words_of
from manifold_common.adapters.remote.lists import Listed, all_items, said_of_commits, said_of_projects
from manifold_common.adapters.remote.network import Network
from manifold_common.adapters.remote.problems import error_of, is_unsure
from manifold_common.domain.api_address import API
from manifold_common.domain.history import Point, Seen, point_of
from manifold_common.domain.listing import EVERY_COMMIT, EVERY_PROJECT, CommitFilter, ProjectFilter
from manifold_common.domain.retry_after import asked_wait, seconds_asked
from manifold_common.domain.tag import Named
from manifold_common.domain.wording import span
from manifold_common.errors import BadAnswer, InvalidInput, ManifoldError, NotFound, OutcomeUnknown, Unavailable
from manifold_common.ids import (
    CommitId,
    Generation,
    ObjectId,
    ProjectId,
    RequestId,
    SessionId,
    TagName,
    parse_request_id,
)
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.retry import Rest, RetryPolicy, retry
from manifold_common.shapes import answer_checks
from manifold_common.shapes.access import (
    LinkUploads,
    OpenUploads,
    Plan,
    PlanProject,
    PlanSession,
    Published,
    PublishUploads,
    SessionPlan,
    SizedUpload,
    UploadLink,
    UploadLinks,
    UploadReceipt,
    UploadSlots,
    Verified,
    VerifyUploads,
)
from manifold_common.shapes.base import Answer
from manifold_common.shapes.changes import Edited, Restore
from manifold_common.shapes.history import Commit, CommitPage
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.path import Place
from manifold_common.shapes.projects import Project, ProjectName, Undelete
from manifold_common.shapes.requests import NEWEST, CheckoutRequest
from manifold_common.shapes.sessions import Saved, Session
from manifold_common.shapes.tags import SetTag, Tag

T = TypeVar("T")

Signer = Callable[[str, str, Mapping[str, str], bytes], Mapping[str, str]]
"""Given method, URL, headers and body, returns the headers to send."""

_POLICY = RetryPolicy(attempts=5, budget_seconds=60.0, base_seconds=0.1)
_CONNECTIONS = 8
_MAX_ANSWER_BYTES = 64 << 20
_NEVER_SENT = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)


_PROJECT = msgspec.json.Decoder(Project)
_PROJECTS = msgspec.json.Decoder(Listed[Project])
_PLAN = msgspec.json.Decoder(Plan)
_SESSION_PLAN = msgspec.json.Decoder(SessionPlan)
_SLOTS = msgspec.json.Decoder(UploadSlots)
_LINKS = msgspec.json.Decoder(UploadLinks)
_PUBLISHED = msgspec.json.Decoder(Published)
_SESSION = msgspec.json.Decoder(Session)
_SESSIONS = msgspec.json.Decoder(Listed[Session])
_COMMITS = msgspec.json.Decoder(Listed[Commit])
_TAG = msgspec.json.Decoder(Tag)
_TAGS = msgspec.json.Decoder(Listed[Tag])
_EDITED = msgspec.json.Decoder(Edited)
_SAVED = msgspec.json.Decoder(Saved)
_VERIFIED = msgspec.json.Decoder(Verified)
_NOTHING = msgspec.json.Decoder(None)
_CLOSED = msgspec.json.Decoder(Answer | None)
"""What may be left of a server's own working set is no concern of a client."""


class HttpServer:
    """Implements RemoteServer. Safe for threads.

    Args:
        url: what stands before ``/api``.
        timeout_seconds: for one answer, counted from the last byte that came.
        sign: signs requests, where the gateway wants that.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        clock: Clock,
        randomness: Randomness,
        network: Network,
        sign: Signer | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._clock = clock
        self._rest = Rest(clock)
        self._randomness = randomness
        self._sign = sign
        self._timeout_seconds = timeout_seconds
        self._known: set[ProjectId] = set()
        timeout = urllib3.Timeout(connect=min(10.0, timeout_seconds), read=timeout_seconds)
        self._pool = network.to_server(maxsize=_CONNECTIONS, timeout=timeout)

    def __repr__(self) -> str:
        return f"HttpServer({self._url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a connection to a server is never pickled or copied")

    def close(self) -> None:
        self._pool.clear()

    # --- projects -------------------------------------------------------------------------------------------------

    def project(self, name_or_id: str) -> Project:
        about = answer_checks.project_of(name_or_id)
        return self._met(self._ask("GET", f"/projects/{quote(name_or_id, safe='')}", _PROJECT, about))

    def projects(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]:
        ask = self._page("/projects", said_of_projects(wanted), _PROJECTS)
        found = all_items(ask, "projects", answer_checks.listed_projects(wanted)).items
        return list(map(self._met, found))

    def deleted_projects(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]:
        ask = self._page("/projects", {**said_of_projects(wanted), "deleted": "true"}, _PROJECTS)
        return all_items(ask, "deleted projects", answer_checks.listed_deleted_projects(wanted)).items

    def undelete_project(self, name_or_id: str, name: str | None = None) -> Project:
        path, about = (
            f"/projects/{quote(name_or_id, safe='')}/undelete",
            answer_checks.undeleted_project(name_or_id, name),
        )
        return self._met(self._ask("POST", path, _PROJECT, about, Undelete(name=name), again=False))

    def create_project(self, name: str) -> Project:
        about = answer_checks.new_project(name, frozenset(self._known))
        return self._met(self._ask("POST", "/projects", _PROJECT, about, ProjectName(name=name), again=False))

    def delete_project(self, project: ProjectId, *, only_unused: bool = False) -> None:
        query = "?only_unused=true" if only_unused else ""
        # A server that passes the query over still looks at the generation.
        expected = Generation(0) if only_unused else None
        path = f"/projects/{project}{query}"
        self._ask("DELETE", path, _NOTHING, answer_checks.anything, again=False, expected=expected)

    def rename_project(self, project: ProjectId, name: str) -> Project:
        about = answer_checks.renamed_project(project, name)
        return self._ask("PATCH", f"/projects/{project}", _PROJECT, about, ProjectName(name=name), again=False)

    def commits(
        self, project: ProjectId, wanted: CommitFilter = EVERY_COMMIT, *, limit: int, cursor: str | None = None
    ) -> CommitPage:
        ask = self._page(f"/projects/{project}/commits", said_of_commits(wanted), _COMMITS)
        found = all_items(ask, "commits", answer_checks.listed_commits(wanted), limit, cursor)
        return CommitPage(items=found.items, next_cursor=found.next_cursor)

    def restore(
        self,
        project: ProjectId,
        generation: Generation,
        paths: Sequence[bytes],
        intent: Intent,
    ) -> Edited:
        body = _asking(Restore, intent, generation=generation, paths=list(map(Place.of, paths)))
        request = intent.request.name if intent.request else parse_request_id(self._randomness.token(16).hex())
        about = answer_checks.restored(project, generation, intent)
        return self._ask("POST", f"/projects/{project}/restore", _EDITED, about, body, request=request)

    def tags(self, project: ProjectId) -> list[Tag]:
        ask = self._page(f"/projects/{project}/tags", {}, _TAGS)
        return all_items(ask, "tags", answer_checks.listed_tags).items

    def tag(self, project: ProjectId, name: TagName) -> Tag:
        return self._ask("GET", f"/projects/{project}/tags/{name}", _TAG, answer_checks.tag_of(name))

    def set_tag(self, project: ProjectId, name: TagName, named: Named, *, expected: Point | None = None) -> Tag:
        path, about = f"/projects/{project}/tags/{name}", answer_checks.tag_of(name, named)
        return self._ask("PUT", path, _TAG, about, SetTag(generation=named), again=False, expected=expected)

    def remove_tag(self, project: ProjectId, name: TagName, *, expected: Point) -> None:
        path = f"/projects/{project}/tags/{name}"
        self._ask("DELETE", path, _NOTHING, answer_checks.anything, again=False, expected=expected)

    def _met(self, project: Project) -> Project:
        self._known.add(project.id)
        return project

    # --- plans ----------------------------------------------------------------------------------------------------

    def plan(
        self,
        project: ProjectId,
        generation: Generation | None = None,
        paths: Sequence[str] = (),
        *,
        first: int = 0,
        content: bool = True,
    ) -> Plan:
        body = PlanProject(generation=generation, paths=list(paths), first=first, content=content)
        return self._ask("POST", f"/projects/{project}/plan", _PLAN, answer_checks.plan_of(project, generation), body)

    def plan_session(
        self,
        session: SessionId,
        project: ProjectId | None = None,
        request: CheckoutRequest = NEWEST,
        *,
        known: Seen | None = None,
        first: int = 0,
        content: bool = True,
        restore: bool = False,
    ) -> SessionPlan:
        body = PlanSession(
            project=project,
            generation=request.generation,
            paths=list(request.paths),
            known_generation=_wire_if(known),
            first=first,
            content=content,
            restore=restore,
            seen_generation=_wire_if(request.seen_generation),
            drop_lost_draft=request.drop_lost_draft,
        )
        about = answer_checks.session_plan_of(session, project)
        return self._ask("POST", f"/sessions/{session}/plan", _SESSION_PLAN, about, body)

    # --- uploads --------------------------------------------------------------------------------------------------

    def open_uploads(self, session: SessionId, base: Seen, packs: int, *, draft: CommitId | None = None) -> UploadSlots:
        body = OpenUploads(base_generation=_wire(base), packs=packs, draft=draft)
        return self._ask("POST", f"/sessions/{session}/uploads", _SLOTS, answer_checks.slots_for(packs, draft), body)

    def link_uploads(self, session: SessionId, sizes: Mapping[ObjectId, int]) -> list[UploadLink]:
        body = LinkUploads(uploads=[SizedUpload(name, size) for name, size in sizes.items()])
        return self._ask("POST", f"/sessions/{session}/links", _LINKS, answer_checks.links_to(sizes), body).links

    def verify(self, session: SessionId, draft: UploadReceipt, packs: Sequence[UploadReceipt]) -> int:
        body = VerifyUploads(draft=draft, packs=list(packs))
        return self._ask("POST", f"/sessions/{session}/verify", _VERIFIED, answer_checks.anything, body).checked

    def publish(
        self,
        session: SessionId,
        draft: UploadReceipt,
        packs: Sequence[UploadReceipt],
        intent: Intent,
        *,
        known: Seen | None = None,
    ) -> Published:
        body = _asking(PublishUploads, intent, draft=draft, packs=list(packs), known_generation=_wire_if(known))
        request = intent.request and intent.request.name
        about = answer_checks.published(session, intent)
        return self._ask("POST", f"/sessions/{session}/publish", _PUBLISHED, about, body, request=request)

    def keep(self, session: SessionId, draft: UploadReceipt, packs: Sequence[UploadReceipt]) -> CommitId | None:
        body = VerifyUploads(draft=draft, packs=list(packs))
        about = answer_checks.session_of(session)
        return self._ask("POST", f"/sessions/{session}/keep", _SAVED, about, body, again=False).draft

    # --- sessions -------------------------------------------------------------------------------------------------

    def sessions(self, project: ProjectId | None = None) -> list[Session]:
        query = {} if project is None else {"project": str(project)}
        about = answer_checks.listed_sessions(project)
        return all_items(self._page("/sessions", query, _SESSIONS), "sessions", about).items

    def session(self, session: SessionId) -> Session:
        return self._ask("GET", f"/sessions/{session}", _SESSION, answer_checks.session_of(session))

    def close_session(self, session: SessionId) -> None:
        self._ask("DELETE", f"/sessions/{session}", _CLOSED, answer_checks.anything)

    # --- requests -------------------------------------------------------------------------------------------------

    def _page(self, path: str, query: Mapping[str, str], shape: msgspec.json.Decoder[T]) -> Callable[..., T]:
        """Return what asks for a page of a list, given what leads to it. Whoever puts pages together looks at them."""
        return lambda more: self._ask("GET", f"{path}?{urlencode({**query, **more})}", shape, answer_checks.anything)

    def _ask(
        self,
        method: str,
        path: str,
        shape: msgspec.json.Decoder[T],
        about: answer_checks.Check[T],
        body: Any = None,
        *,
        again: bool = True,
        request: RequestId | None = None,
        expected: Seen | None = None,
    ) -> T:
        """Return the answer.

        Args:
            path: what comes behind ``/api/v1``.
            about: tells whether it is about what was asked for.
            again: the request may be sent again when it is not known what became of it.
            expected: what it is about must be at this generation.
        """
        path = API + path
        data = b"" if body is None else _encoded(body)
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if request is not None:
            headers["Idempotency-Key"] = request
        if expected is not None:
            headers["If-Match"] = f'"{expected}"'

        unknown: list[OutcomeUnknown] = []

        def attempt() -> T:
            try:
                answer = self._send(method, path, headers, data, again, request)
            except OutcomeUnknown as error:
                unknown.append(error)
                raise
            try:
                found = shape.decode(answer or b"null")
            except (ValueError, RecursionError) as error:
                raise BadAnswer(
                    f"{method} {path} was answered with something that no Manifold server answers: {error}",
                    hint="nothing of it was used; is the server of the same release?",
                ) from None
            about(found)
            return found

        try:
            return retry(_POLICY, self._clock, self._randomness, attempt)
        except Unavailable:
            if unknown:
                raise unknown[-1] from None  # a later attempt that was never sent does not make it any better known
            raise

    def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        data: bytes,
        again: bool,
        request: RequestId | None,
    ) -> bytes:
        url, what = self._url + path, f"{method} {path.partition('?')[0]}"
        if left := self._rest.left_seconds():
            raise Unavailable(
                f"the server {self._url} has asked to be left alone for another {span(ceil(left))}",
                hint="try again then",
                retryable=True,
                **asked_wait(left),
            )
        is_change = request is not None or not again  # whatever else is sent again changes nothing by that
        signed = headers if self._sign is None else self._sign(method, url, headers, data)
        try:
            answer, received = exchange(
                self._pool,
                method,
                url,
                headers=signed,
                body=data,
                most=_MAX_ANSWER_BYTES,
                clock=self._clock,
                patience_seconds=self._timeout_seconds,
            )
        except urllib3.exceptions.HTTPError as error:
            if is_change and not isinstance(error, _NEVER_SENT):
                raise _unknown(what, f"the connection to {self._url} broke ({words_of(error)})", again) from None
            raise Unavailable(
                f"the server {self._url} cannot be reached: {words_of(error)}",
                hint="check the address and the network",
                retryable=again or isinstance(error, _NEVER_SENT),
            ) from None
        content = bytes(received)
        if len(content) > _MAX_ANSWER_BYTES:
            raise BadAnswer(f"{what} was answered with more than {_MAX_ANSWER_BYTES} bytes")
        if answer.status >= 300:
            wait = seconds_asked(answer.headers.get("Retry-After"), self._clock.now())
            self._rest.note(wait)
            if is_change and is_unsure(answer.status, content):
                why = f"something between here and Manifold answered {answer.status}"
                raise _unknown(what, why, again, wait)
            raise self._refusal(error_of(answer.status, content, what, wait), answer.status, again)
        return content

    @staticmethod
    def _refusal(error: ManifoldError, status: int, again: bool) -> ManifoldError:
        if not again:
            error.details.pop("retryable", None)
        if isinstance(error, NotFound):
            error.details.setdefault("status", status)
        return error


def _encoded(body: Any) -> bytes:
    """Raises InvalidInput: it holds text that JSON cannot say."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise InvalidInput("the request holds a lone surrogate, which no UTF-8 stands for", hint="use UTF-8") from None


def _unknown(what: str, why: str, again: bool, asked_seconds: float | None = None) -> OutcomeUnknown:
    hint = "do the same again: what was done is found, and not done twice" if again else "look before you do it again"
    text = f"it is not known whether {what} was done: {why}, and the server's own answer never came"
    return OutcomeUnknown(text, hint=hint, **({"retryable": True} if again else {}), **asked_wait(asked_seconds))


def _asking(kind: Callable[..., T], intent: Intent, **facts: Any) -> T:
    """Return a request of this kind, with what the caller says of the change. Its name is a header."""
    return kind(
        message=intent.message,
        provenance=dict(intent.provenance),
        strategy=intent.strategy,
        expected_generation=_wire_if(intent.expected),
        **facts,
    )


def _wire(seen: Seen) -> Generation | str:
    """Return how the API spells it: a number, or a number and a commit id."""
    return str(seen) if isinstance(seen, Point) and seen.commit else point_of(seen).generation


def _wire_if(seen: Seen | None) -> Generation | str | None:
    return None if seen is None else _wire(seen)
