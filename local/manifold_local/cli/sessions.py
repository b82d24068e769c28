"""Working sets: ``manifold checkout``, ``status``, ``save``, ``commit``, ``close`` and ``sessions``."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.wording import plural
from manifold_common.errors import Conflict, InvalidInput, NotFound
from manifold_common.ids import SessionId, parse_session_id

from manifold_local.cli.arguments import (
    ChecksumOption,
    ExpectOption,
    GenerationOption,
    MessageOption,
    ProjectArgument,
    ProvenanceOption,
    SeenOption,
    SessionArgument,
    StrategyOption,
    parse_message,
    parse_provenance,
)
from manifold_local.cli.begun import taken_back
from manifold_local.cli.call import Call, command
from manifold_local.cli.completion import complete_project, complete_session
from manifold_local.cli.conflicts import say_decided
from manifold_local.cli.exit_codes import DIFFERENT
from manifold_local.cli.output import (
    human_bytes,
    human_time,
    print_line,
    print_path,
    print_table,
    safe,
    safe_path,
)
from manifold_local.streams import OutputLost

if TYPE_CHECKING:
    from manifold_local.cli.backend import Backend, OpenSession

_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_NAME_PART_CHARS = 40


def checkout(
    call: Call,
    project: ProjectArgument,
    session: Annotated[
        str | None,
        typer.Option(
            "--session", "-s", metavar="SESSION", autocompletion=complete_session, help="Session; a new one by default."
        ),
    ] = None,
    generation: GenerationOption = None,
    patterns: Annotated[
        list[str] | None,
        typer.Option(
            "--path",
            "-p",
            metavar="PATTERN",
            help="Only what matches (gitignore syntax). Repeatable.",
        ),
    ] = None,
    strategy: StrategyOption = Strategy.FAIL,
    seen: SeenOption = None,
    drop_lost_draft: Annotated[
        bool,
        typer.Option("--drop-lost-draft", help="Give up saved work of the session if it cannot be read."),
    ] = False,
) -> None:
    """Make or refresh a working set, and print its folder.

    For instance: cd "$(manifold checkout PROJECT)". Without --session, a new session is opened. Changes that are not
    committed are kept, and merged with what others committed.
    """
    from manifold_common.shapes.requests import CheckoutRequest
    from manifold_common.shapes.sessions import CheckoutKind

    with call.backend() as backend:
        known = backend.project(project)
        wanted = backend.generation(known.id, generation)
        request = CheckoutRequest(wanted, tuple(patterns or ()), strategy, seen, drop_lost_draft)
        chosen = _new_session_id(known.name) if session is None else parse_session_id(session)
        total = known.total_bytes if generation is None and not patterns else None
        with ExitStack() as stack:
            if session is None:
                stack.enter_context(_closed_again(call, backend, chosen))
            report = stack.enter_context(call.progress("checking out", total_bytes=total))
            done = backend.checkout(chosen, known.id, request, progress=report)
        unsaved = backend.why_unsaved()

    if done.dropped_draft is not None:
        call.warn(f"the saved work of session {done.session}, draft {done.dropped_draft}, could not be read: given up")
    call.note(
        f"session {done.session}: generation {done.generation} of {safe(known.name)}, "
        f"{plural(done.entries, 'entry')}, {human_bytes(done.total_bytes)} ({done.kind.value})"
    )
    if done.missing is not None:
        since = human_time(done.missing.since)
        if done.missing.set_aside:
            call.warn(
                f"its working set here was set aside: what was changed there after {since} and not saved is in "
                f"{safe(done.missing.set_aside)}; 'manifold leftovers list' says how to bring it back"
            )
        elif done.missing.is_lost:
            call.warn(f"its working set here is gone: what was changed there after {since} and not saved is lost")
        else:
            call.warn(
                f"its working set was on {safe(done.missing.node)}: what was changed there after {since} and not saved "
                "is not here"
            )
    if unsaved is not None and done.kind in (CheckoutKind.NEW, CheckoutKind.RESTORED):
        call.note(unsaved)
    say_decided(call, done.project, done.conflicts, done.kept, strategy)
    if done.generation < done.head_generation:
        call.note(f"the newest generation is {done.head_generation}")
    try:
        call.answer(done, lambda: print_path(done.path))
    except OutputLost as lost:
        again = call.command("checkout", known.id, "--session", done.session)
        lost.hint = f"session {done.session} is open, and its folder is {safe(done.path)}; to print that again: {again}"
        raise


def _closed_again(call: Call, backend: Backend, session: SessionId) -> AbstractContextManager[None]:
    return taken_back(
        lambda: not backend.close(session).left,
        f"session {session} may be open\n  to end it:  {call.command('close', session, '--discard')}",
    )


def status(
    call: Call,
    session: SessionArgument = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"Exit with {DIFFERENT} when something has changed.")
    ] = False,
    checksum: ChecksumOption = False,
) -> None:
    """Show what a session's working set has changed."""
    from manifold_local.cli.views import print_differences, summary

    with call.backend() as backend:
        found, differences = backend.status(_session(backend, session), checksum=checksum)

    def say() -> None:
        behind = found.head_generation - found.base_generation
        lag = f", {plural(behind, 'generation')} behind the newest" if behind > 0 else ""
        call.note(f"session {found.session} at generation {found.base_generation}{lag}: {summary(differences)}")
        print_differences(differences)

    for path in found.skipped:
        call.warn(f"{safe_path(path.exact)} is not a file, a folder or a link: it is never committed")
    call.answer(found, say)
    if exit_code and differences:
        raise typer.Exit(DIFFERENT)


def save(call: Call, session: SessionArgument = None, checksum: ChecksumOption = False) -> None:
    """Store a session's changes durably, as a draft."""
    with call.backend() as backend:
        done = backend.save(_session(backend, session), checksum=checksum)

    def say() -> None:
        if done.draft is None:
            print_line("nothing to save")
        else:
            print_line(f"saved {plural(done.changed, 'changed path')} of session {done.session} as a draft")

    call.answer(done, say)


def commit(
    call: Call,
    session: SessionArgument = None,
    message: MessageOption = "",
    strategy: StrategyOption = Strategy.FAIL,
    expect: ExpectOption = None,
    provenance: ProvenanceOption = None,
    checksum: ChecksumOption = False,
) -> None:
    """Publish a session's changes as a new generation."""
    from manifold_common.shapes.intent import Intent

    from manifold_local.cli.views import loss_sentences

    intent = Intent(
        message=parse_message(message),
        provenance=parse_provenance(provenance),
        strategy=strategy,
        expected=expect,
    )
    with call.backend() as backend:
        chosen = _session(backend, session)
        with call.progress("committing") as report:
            done = backend.commit(chosen, intent, checksum=checksum, progress=report)

    def say() -> None:
        if done.commit is None:
            print_line(f"nothing to commit; generation {done.generation}")
            return
        print_line(
            f"committed generation {done.generation}: {done.added:,} added, {done.modified:,} modified, "
            f"{done.deleted:,} deleted"
        )
        if done.rebased:
            call.note("others had committed meanwhile; their changes are in the working set now")

    say_decided(call, done.project, done.conflicts, done.kept, strategy)
    for path in done.skipped:
        call.warn(f"{safe_path(path.exact)} is not a file, a folder or a link: it was not committed")
    for sentence in loss_sentences(done.not_kept):
        call.warn(sentence)
    for path in done.unstable:
        call.warn(f"{safe_path(path.exact)} was being written to while it was read")
    if done.behind is not None:
        again = call.command("checkout", done.project, "--session", chosen)
        call.warn(f"it is committed, and the working set could not follow ({done.behind}): {again}")
    call.answer(done, say)


def close(
    call: Call,
    session: SessionArgument = None,
    discard: Annotated[bool, typer.Option("--discard", help="Also when changes would be lost.")] = False,
) -> None:
    """End a session and remove its working set. In legacy mode, the project's folder stays."""
    with call.backend() as backend:
        chosen = _session(backend, session)
        if not discard:
            _refuse_loss(backend, chosen)
        done = backend.close(chosen)
    if done.left:
        call.warn(f"a process still works in its folder, and puts plaintext there: {safe(done.left)}; end that process")
    if done.set_aside:
        call.warn(
            f"what was changed here and saved nowhere is set aside in {safe(done.set_aside)}; "
            "'manifold leftovers list' says how to bring it back"
        )
    if _is_in_a_removed_folder():
        call.note("this shell is in its folder, which is gone now: cd ~")
    if done.has_newer:
        again = call.command("close", chosen, "--discard")
        call.warn(f"only what was here is gone: session {chosen} was opened anew elsewhere, and is open: {again}")
    call.answer(done, lambda: print_line(f"closed {chosen}"))


def show_all(
    call: Call,
    project: Annotated[
        str | None,
        typer.Argument(
            metavar="PROJECT", autocompletion=complete_project, help="Only sessions of this project (name or id)."
        ),
    ] = None,
) -> None:
    """List the open sessions."""
    from manifold_local.cli.documents import SessionHere, SessionsHere

    with call.backend() as backend:
        rows = backend.sessions(None if project is None else backend.project(project).id)
        names = {found: backend.project(found).name for found in {row.shown.project for row in rows}}
    items = [
        SessionHere(
            **msgspec.structs.asdict(row.shown),
            project_name=names[row.shown.project],
            has_working_set_here=row.is_here,
        )
        for row in rows
    ]

    def say() -> None:
        if not rows:
            call.note("there are no open sessions: 'manifold checkout PROJECT' opens one")
            return
        print_table(
            ("SESSION", "PROJECT", "GENERATION", "DRAFT", "HERE", "EXPIRES"),
            [
                (
                    row.session,
                    safe(names[row.shown.project]),
                    str(row.shown.base_generation),
                    human_time(row.shown.draft_saved_at) if row.shown.draft_saved_at else "-",
                    _where(row),
                    human_time(row.shown.expires_at),
                )
                for row in rows
            ],
            right=frozenset({2}),
            spare=(5,),
        )

    call.answer(SessionsHere(items=items, next_cursor=None), say)


def _where(row: OpenSession) -> str:
    if not row.is_here:
        return "no"
    return "yes" if row.elsewhere is None else "left behind"


def _session(backend: Backend, named: str | None) -> SessionId:
    """Return the session that was named, or the one whose working set the current folder is in. Raises InvalidInput."""
    if named is not None:
        return parse_session_id(named)
    here = os.getcwdb() + b"/"
    found = [
        row.session for row in backend.sessions() if row.folder and here.startswith(os.fsencode(row.folder) + b"/")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidInput(f"several sessions share this folder: {', '.join(found)}", hint="name one of them")
    raise InvalidInput(
        "no session is named, and the current folder is in no working set", hint="'manifold sessions' lists them"
    )


def _refuse_loss(backend: Backend, session: SessionId) -> None:
    """Raises Conflict: the session has changes that are not committed, or may have them on another machine."""
    row = next((row for row in backend.sessions() if row.session == session), None)
    try:
        changed = len(backend.status(session, checksum=True).differences)
    except NotFound:
        if row is None:
            raise
        changed = int(row.elsewhere is None and row.shown.draft_saved_at is not None)
    if row is not None and row.elsewhere is not None:
        raise Conflict(
            f"session '{session}' has gone on on {safe(row.elsewhere)}: what was changed there and not committed would "
            "be lost" + (f"; what it left here, in {safe(row.folder or '')}, has changes too" if changed else ""),
            hint="close it there, check it out here first, or close it with --discard"
            + (": that sets aside what is here and saved nowhere" if changed else ""),
        )
    if changed:
        raise Conflict(
            f"session '{session}' has changes that are not committed",
            hint="commit them first, or close it with --discard",
        )


def _is_in_a_removed_folder() -> bool:
    try:
        os.getcwdb()
    except FileNotFoundError:
        return True
    return False


def _new_session_id(project_name: str) -> SessionId:
    """Return a readable id that is not taken: a part of the project's name, and some random characters."""
    readable = _NOT_SLUG.sub("-", project_name.lower())[:_NAME_PART_CHARS].strip("-")
    return parse_session_id(f"{readable or 'session'}-{secrets.token_hex(4)}")


def add_to(app: typer.Typer) -> None:
    command(app, "checkout", changes=False, answers="CheckedOut")(checkout)
    command(app, "status", changes=False, answers="Status")(status)
    command(app, "save", changes=True, answers="Saved")(save)
    command(app, "commit", changes=True, answers="Committed")(commit)
    command(app, "close", changes=True, answers="Closed")(close)
    command(app, "sessions", changes=False, answers="SessionsHere")(show_all)
