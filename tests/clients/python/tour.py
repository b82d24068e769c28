"""The whole tour of the API with the client of openapi-python-client: ``tour.py URL``, beside ``manifold_client``.

Strictly typed: what a function may answer is checked before it is used, as a user of the client would.
"""

from __future__ import annotations

import base64
import io
import pkgutil
import sys
import tarfile
from pathlib import Path
from typing import TypeVar

import httpx
import manifold_client.api
from manifold_client import Client
from manifold_client.api.archive import download_archive, upload_archive
from manifold_client.api.changes import commit_changes, make_folder, move, restore
from manifold_client.api.events import list_events, list_project_events
from manifold_client.api.files import (
    create_file,
    delete_path,
    list_folder,
    list_root,
    look_at_file,
    put_file,
    read_file,
    read_files,
)
from manifold_client.api.health import health, live, ready
from manifold_client.api.history import diff, get_commit, list_commits
from manifold_client.api.jobs import (
    cancel_job,
    download_job_content,
    get_job,
    get_job_result,
    list_job_items,
    list_jobs,
    pause_job,
    resume_job,
    retry_job,
    start_job,
)
from manifold_client.api.projects import (
    create_project,
    delete_project,
    fork_project,
    get_project,
    list_damage,
    list_projects,
    rename_project,
    undelete_project,
    verify_project,
)
from manifold_client.api.resumable_uploads import (
    append_to_resumable,
    create_resumable,
    end_resumable,
    look_at_resumable,
    resumable_options,
)
from manifold_client.api.sessions import (
    checkout,
    close,
    commit,
    get_session,
    list_sessions,
    open_session,
    save,
    status,
)
from manifold_client.api.space import get_garbage, get_retention, get_usage, list_usage, set_retention
from manifold_client.api.tags import get_tag, list_tags, remove_tag, set_tag
from manifold_client.models import (
    ArchiveFormat,
    Checkout,
    CommitSession,
    DeleteChange,
    Edited,
    Fork,
    ImportedArchive,
    Job,
    JobState,
    MadeArchive,
    MovePaths,
    NewCommit,
    NewFolder,
    OpenSession,
    Place,
    Problem,
    ProjectName,
    PutFileChange,
    PutLinkChange,
    ReadFiles,
    Restore,
    SetRetention,
    SetTag,
    StartJob,
    Strategy,
    Undelete,
    Verify,
    VerifyReport,
)
from manifold_client.types import File

T = TypeVar("T")
CONTENT = b"hello\n\x00\xff"


def told(answer: T | Problem | None) -> T:
    """Return what was asked for."""
    assert answer is not None
    assert not isinstance(answer, Problem), answer
    return answer


def refused(answer: object, status: int, code: str) -> Problem:
    assert isinstance(answer, Problem), answer
    assert (answer.status, answer.code) == (status, code), answer
    return answer


def content(data: bytes) -> File:
    return File(payload=io.BytesIO(data))


def files(client: Client) -> None:
    made = told(create_project.sync(client=client, body=ProjectName(name="demo")))
    assert made.generation == 0 and made.name == "demo"
    refused(create_project.sync(client=client, body=ProjectName(name="demo")), 409, "already_exists")
    path = "src/deep er/ünï.txt"
    assert told(put_file.sync("demo", path, client=client, body=content(CONTENT))).generation == 1
    assert told(read_file.sync("demo", path, client=client)).payload.read() == CONTENT
    part = told(read_file.sync("demo", path, client=client, range_="bytes=1-3"))
    assert part.payload.read() == CONTENT[1:4]
    refused(create_file.sync("demo", path, client=client, body=content(b"")), 409, "already_exists")
    assert told(create_file.sync("demo", "empty", client=client, body=content(b""))).generation == 2
    head = look_at_file.sync_detailed("demo", path, client=client)
    assert head.headers["content-length"] == str(len(CONTENT))
    same = read_file.sync_detailed("demo", path, client=client, if_none_match=head.headers["etag"])
    assert same.status_code == 304
    refused(read_file.sync("demo", "no/such", client=client), 404, "not_found")
    listed = told(list_folder.sync("demo", "src/deep er", client=client))
    assert [entry.path for entry in listed.items] == [path]
    asked = ReadFiles(paths=[Place(path=path), Place(path="empty"), Place(path="absent")])
    both = told(read_files.sync("demo", client=client, body=asked))
    assert [(item.path, item.text) for item in both.items][1:] == [("empty", "")]
    assert [one.path for one in both.absent] == ["absent"]
    assert isinstance(both.items[0].content_base64, str)
    assert base64.b64decode(both.items[0].content_base64) == CONTENT
    everything = told(list_root.sync("demo", client=client, recursive=True))
    assert [entry.path for entry in everything.items] == ["empty", "src", "src/deep er", path]


def preconditions(client: Client) -> None:
    found = get_project.sync_detailed("demo", client=client)
    etag = found.headers["etag"]
    told(put_file.sync("demo", "a.txt", client=client, body=content(b"1"), if_match=etag))
    late = put_file.sync("demo", "a.txt", client=client, body=content(b"2"), if_match=etag)
    refused(late, 412, "precondition_failed")
    refused(put_file.sync("demo", "a.txt", client=client, body=content(b"3"), if_none_match="*"), 412, "already_exists")
    once = [
        told(put_file.sync("demo", "b.txt", client=client, body=content(b"4"), idempotency_key="order-17"))
        for _ in range(2)
    ]
    assert once[0].commit == once[1].commit


def history(client: Client) -> None:
    changes = NewCommit(
        message="three changes",
        changes=[
            PutFileChange(op="put", path="run.sh", text="#!/bin/sh\n", mode="755"),
            PutLinkChange(op="link", path="latest", target="run.sh"),
            DeleteChange(op="delete", path="empty"),
        ],
    )
    done = told(commit_changes.sync("demo", client=client, body=changes))
    assert done.paths_total == 3
    told(make_folder.sync("demo", client=client, body=NewFolder(path="docs")))
    places = MovePaths(source=Place(path="a.txt"), destination=Place(path="docs/a.txt"))
    moved = told(move.sync("demo", client=client, body=places))
    newest = told(list_commits.sync("demo", client=client, limit=1))
    assert newest.items[0].generation == moved.generation and newest.next_cursor is not None
    assert told(get_commit.sync("demo", done.generation, client=client)).message == "three changes"
    found = told(diff.sync("demo", client=client, before=done.generation, after=moved.generation))
    assert {one.path for one in found.items} == {"a.txt", "docs", "docs/a.txt"}
    back = told(restore.sync("demo", client=client, body=Restore(generation=done.generation)))
    assert isinstance(back, Edited) and back.generation == moved.generation + 1
    told(delete_path.sync("demo", "src", client=client, recursive=True))


def tags(client: Client) -> None:
    made = told(set_tag.sync("demo", "release-1", client=client, body=SetTag(generation=1)))
    assert told(get_tag.sync("demo", "release-1", client=client)) == made
    assert told(get_commit.sync("demo", "release-1", client=client)).id == made.commit
    assert told(list_root.sync("demo", client=client, generation="release-1")).generation == 1
    refused(set_tag.sync("demo", "release-1", client=client, body=SetTag(generation=2)), 409, "already_exists")
    seen = f'"{made.generation}-{made.commit}"'
    moved = told(set_tag.sync("demo", "release-1", client=client, body=SetTag(generation=2), if_match=seen))
    assert told(list_tags.sync("demo", client=client)).items == [moved]
    refused(remove_tag.sync("demo", "release-1", client=client, if_match=seen), 412, "precondition_failed")
    assert remove_tag.sync_detailed("demo", "release-1", client=client).status_code == 204


def events(client: Client) -> None:
    begun = told(list_project_events.sync("demo", client=client, since="now"))
    assert begun.events == [] and not begun.has_more
    made = told(make_folder.sync("demo", client=client, body=NewFolder(path="told")))
    found = told(list_project_events.sync("demo", client=client, since=begun.next_cursor, wait=5, limit=10))
    assert [(one.type_, one.data.generation) for one in found.events] == [("manifold.project.commit", made.generation)]
    everything = told(list_events.sync(client=client))
    assert everything.events[0].type_ == "manifold.project.created"
    told(delete_path.sync("demo", "told", client=client))


def archives(client: Client) -> None:
    downloaded = told(download_archive.sync("demo", client=client))
    assert isinstance(downloaded, File)
    data = downloaded.payload.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames().count("run.sh") == 1
    told(create_project.sync(client=client, body=ProjectName(name="copy")))
    loaded = told(upload_archive.sync("copy", client=client, body=content(data), folder="from/demo"))
    assert isinstance(loaded, ImportedArchive)
    assert loaded.entries == len(told(list_root.sync("demo", client=client, recursive=True)).items)
    assert told(read_file.sync("copy", "from/demo/run.sh", client=client)).payload.read() == b"#!/bin/sh\n"


def parts(client: Client) -> None:
    tus = "1.0.0"
    assert "creation" in resumable_options.sync_detailed("demo", client=client).headers["tus-extension"]
    about = f"path {base64.b64encode(b'parts.bin').decode()}"
    made = create_resumable.sync_detailed(
        "demo", client=client, body=content(b""), tus_resumable=tus, upload_length=len(CONTENT), upload_metadata=about
    )
    assert made.status_code == 201, made.content
    upload = made.headers["location"].rpartition("/")[2]
    for start, end in ((0, 3), (3, len(CONTENT))):
        looked = look_at_resumable.sync_detailed("demo", upload, client=client, tus_resumable=tus)
        assert looked.headers["upload-offset"] == str(start)
        part = append_to_resumable.sync_detailed(
            "demo", upload, client=client, body=content(CONTENT[start:end]), tus_resumable=tus, upload_offset=start
        )
        assert part.status_code == 204, part.content
    assert told(read_file.sync("demo", "parts.bin", client=client)).payload.read() == CONTENT
    late = append_to_resumable.sync(
        "demo", upload, client=client, body=content(b"more"), tus_resumable=tus, upload_offset=3
    )
    refused(late, 409, "upload_offset_mismatch")
    assert end_resumable.sync_detailed("demo", upload, client=client, tus_resumable=tus).status_code == 204


def sessions(client: Client) -> None:
    opened = told(open_session.sync(client=client, body=OpenSession(project="demo", session="agent-1")))
    folder = Path(opened.path)
    (folder / "made.txt").write_text("made")
    assert [one.path for one in told(status.sync("agent-1", client=client)).differences] == ["made.txt"]
    assert told(save.sync("agent-1", client=client)).draft is not None
    done = told(commit.sync("agent-1", client=client, body=CommitSession(message="made")))
    assert done.added == 1 and told(get_session.sync("agent-1", client=client)).base_generation == done.generation
    (folder / "made.txt").write_text("mine")
    told(put_file.sync("demo", "made.txt", client=client, body=content(b"theirs")))
    clash = refused(commit.sync("agent-1", client=client), 409, "commit_conflict")
    assert clash.details and clash.details["paths"] == ["made.txt"]
    settled = told(checkout.sync("agent-1", client=client, body=Checkout(strategy=Strategy.THEIRS)))
    assert [path.path for path in settled.conflicts] == ["made.txt"] and len(settled.kept) == 1
    assert (folder / "made.txt").read_bytes() == b"theirs"
    for session in ("agent-1", *settled.kept):
        assert close.sync_detailed(session, client=client).status_code == 204
    assert told(list_sessions.sync(client=client, project="demo")).items == []


def jobs(client: Client) -> None:
    refused(start_job.sync(client=client, body=StartJob(kind="rewarp")), 400, "invalid_input")
    begun = told(start_job.sync(client=client, body=StartJob(kind="rewrap", rate=100)))
    done = get_job.sync_detailed(begun.id, client=client, wait=50)
    assert told(done.parsed).state is JobState.DONE and told(done.parsed).rate == 100
    tag = done.headers["etag"]
    assert get_job.sync_detailed(begun.id, client=client, wait=1, if_none_match=tag).status_code == 304
    assert told(list_job_items.sync(begun.id, client=client)).items == []
    assert [one.id for one in told(list_jobs.sync(client=client, state=JobState.DONE)).items] == [begun.id]
    for move_job in (pause_job, resume_job, cancel_job, retry_job):
        refused(move_job.sync(begun.id, client=client), 409, "job_ended")


def deferred(client: Client) -> None:
    begun = told(download_archive.sync("copy", client=client, format_=ArchiveFormat.TAR, prefer="respond-async"))
    assert isinstance(begun, Job) and told(get_job.sync(begun.id, client=client, wait=50)).state is JobState.DONE
    made = told(get_job_result.sync(begun.id, client=client)).archive
    data = told(download_job_content.sync(begun.id, client=client)).payload.read()
    assert isinstance(made, MadeArchive) and made.total_bytes == len(data)
    more = told(upload_archive.sync("copy", client=client, body=content(data), folder="2", prefer="respond-async"))
    assert isinstance(more, Job) and told(get_job.sync(more.id, client=client, wait=50)).state is JobState.DONE
    imported = told(get_job_result.sync(more.id, client=client)).imported
    assert isinstance(imported, ImportedArchive) and imported.generation == made.generation + 1
    back = told(restore.sync("copy", client=client, body=Restore(generation=1), prefer="respond-async"))
    assert isinstance(back, Job) and told(get_job.sync(back.id, client=client, wait=50)).state is JobState.DONE
    restored = told(get_job_result.sync(back.id, client=client)).restored
    assert isinstance(restored, Edited) and restored.generation == made.generation + 2
    refused(get_job_result.sync("a" * 26, client=client), 404, "not_found")


def space(client: Client) -> None:
    shown = get_retention.sync_detailed("demo", client=client)
    assert told(shown.parsed).generations is None and told(shown.parsed).due == 0
    tag = shown.headers["etag"]
    ruled = told(set_retention.sync("demo", client=client, body=SetRetention(generations=500), if_match=tag))
    assert (ruled.generations, ruled.days, ruled.in_force.generations) == (500, None, 500)
    late = set_retention.sync("demo", client=client, body=SetRetention(days=1), if_match=tag)
    refused(late, 412, "precondition_failed")
    assert told(get_garbage.sync("demo", client=client)).projects == []
    one = told(get_usage.sync("demo", client=client))
    assert one.live is None and one.condemned.objects == 0
    whole = told(list_usage.sync(client=client, limit=10))
    assert [row.name for row in whole.items] == ["copy", "demo"] and whole.user.unmeasured_projects == 2


def projects(client: Client) -> None:
    forked = told(fork_project.sync("demo", client=client, body=Fork(name="forked", generation=1)))
    assert told(rename_project.sync(forked.id, client=client, body=ProjectName(name="renamed"))).name == "renamed"
    assert [one.name for one in told(list_projects.sync(client=client)).items] == ["copy", "demo", "renamed"]
    looked = told(verify_project.sync(forked.id, client=client, body=Verify(read_data=True)))
    assert (
        isinstance(looked, VerifyReport) and looked.ok and told(list_damage.sync(forked.id, client=client)).items == []
    )
    assert verify_project.sync_detailed(forked.id, client=client, prefer="respond-async").status_code == 202
    assert delete_project.sync_detailed("renamed", client=client).status_code == 204
    refused(get_project.sync("renamed", client=client), 404, "not_found")
    back = told(undelete_project.sync(forked.id, client=client, body=Undelete(name="back")))
    assert (back.name, back.id) == ("back", forked.id)
    assert delete_project.sync_detailed("back", client=client).status_code == 204
    assert told(live.sync(client=client)) is not None
    assert told(ready.sync(client=client)).status == told(health.sync(client=client)).status


def missed() -> set[str]:
    """Return the operations that this tour has no use for, but for direct access, which has protocols of its own."""
    package = manifold_client.api
    every = {module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")}
    return {name for name in every - sys.modules.keys() if "direct_access" not in name}


def main(url: str) -> None:
    with Client(base_url=url, raise_on_unexpected_status=True, timeout=httpx.Timeout(60)) as client:
        for part in (
            files,
            preconditions,
            history,
            tags,
            events,
            archives,
            parts,
            sessions,
            jobs,
            deferred,
            space,
            projects,
        ):
            part(client)
    assert missed() == set()


main(sys.argv[1])
