"""The one path that everything else widens: import, checkout, edit, commit, log, restore."""

from __future__ import annotations

import subprocess
from pathlib import Path

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import Generation, SessionId
from manifold_common.shapes.intent import Intent

from tests.support.manifold import MakeManifold


def test_a_project_goes_in_is_edited_committed_and_restored(make_manifold: MakeManifold, tmp_path: Path) -> None:
    manifold = make_manifold()
    source = tmp_path / "source"
    (source / "src").mkdir(parents=True)
    (source / "src" / "main.py").write_text("print('one')\n")
    (source / "link").symlink_to("src/main.py")
    project = manifold.projects.create(LOCAL_PRINCIPAL, "demo").id
    manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, source)

    session = SessionId("s1")
    checked_out = manifold.sessions.checkout(LOCAL_PRINCIPAL, session, project)
    work = Path(checked_out.path)
    assert (work / "link").readlink() == Path("src/main.py")
    (work / "src" / "main.py").write_text("print('two')\n")
    done = manifold.commits.commit(LOCAL_PRINCIPAL, session, Intent("say two"))
    assert (done.generation, done.modified) == (2, 1)

    log = manifold.history.log(LOCAL_PRINCIPAL, project)
    assert [(entry.generation, entry.message) for entry in log] == [(2, "say two"), (1, "import source")]
    manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(1))
    manifold.transfer.export(LOCAL_PRINCIPAL, project, tmp_path / "out")
    compared = subprocess.run(
        ["diff", "-r", "--no-dereference", source, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert compared.stdout == ""
