"""What a shell is told leads to the same settings, and holds no secret."""

from __future__ import annotations

import subprocess
from pathlib import Path

from manifold_common.settings import load_settings
from manifold_local.handover import handover, shell_lines

AWKWARD = """it's "here" $HOME `x` \\ é"""


def _typed(script: str, **before: str) -> dict[str, str]:
    """Return the variables of a shell in which a script was typed."""
    environ = {"PATH": "/usr/bin:/bin", **before}
    done = subprocess.run(["sh", "-euc", f"{script}\nenv -0"], env=environ, capture_output=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)


def test_the_lines_lead_to_the_same_settings(tmp_path: Path) -> None:
    workdir = tmp_path / AWKWARD
    (tmp_path / ".env").write_text("PROJECTS_WORKSPACE_MODE=ephemeral\nVAULT_TOKEN=hush-1\n")
    environ = {
        "WORKDIR": str(workdir),
        "PROJECTS_ENCRYPT": "yes",
        "SERVER_PORT": "1",
        "DATABASE_URL": "postgresql://hush-2@localhost/x",
    }
    given = handover(load_settings(environ=environ, cwd=tmp_path))
    script = "\n".join(shell_lines(given))
    typed = _typed(script)
    there = load_settings(environ=typed, cwd=Path("/"))
    assert (there.workdir, there.projects.encrypt, there.projects.workspace.mode) == (workdir, True, "ephemeral")
    assert "SERVER_PORT" not in typed
    assert given.secrets == {"VAULT_TOKEN": "projects.encryption.vault.token", "DATABASE_URL": "databaseUrl"}
    assert "hush" not in repr(given) + script


def test_what_the_program_has_set_by_itself_counts_before_what_the_shell_has(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("projects:\n  s3:\n    bucket: ours\n    accessKeyId: ours\n    secretAccessKey: ours\n")
    environ = {
        "WORKDIR": str(tmp_path),
        "S3_BUCKET": "theirs",
        "S3_ACCESS_KEY_ID": "theirs",
        "S3_SECRET_ACCESS_KEY": "theirs",
    }
    values = {f"projects.s3.{name}": "ours" for name in ("bucket", "accessKeyId", "secretAccessKey")}
    settings = load_settings(
        environ=environ, cwd=tmp_path, overrides={**values, "workdir": str(tmp_path / "enterprise")}
    )
    given = handover(settings, config=own, asked=load_settings(environ=environ, cwd=tmp_path))
    there = load_settings(environ=_typed("\n".join(shell_lines(given)), **environ), cwd=Path("/"))
    assert there.workdir == tmp_path / "enterprise"
    assert there.projects.s3 == settings.projects.s3


def test_what_came_from_a_file_is_neither_shown_nor_taken_for_the_files_name(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("hush-id\n")
    (tmp_path / "key").write_text("hush-key\n")
    environ = {
        "WORKDIR": str(tmp_path),
        "S3_ACCESS_KEY_ID_FILE": str(tmp_path / "id"),
        "S3_SECRET_ACCESS_KEY_FILE": str(tmp_path / "key"),
    }
    asked = load_settings(environ=environ, cwd=tmp_path)
    given = handover(asked)
    assert "hush" not in repr(given) + "\n".join(shell_lines(given))
    assert set(given.secrets) == {"S3_ACCESS_KEY_ID_FILE", "S3_SECRET_ACCESS_KEY_FILE"}

    values = {f"projects.s3.{name}": "ours" for name in ("accessKeyId", "secretAccessKey")}
    overruled = handover(load_settings(environ=environ, cwd=tmp_path, overrides=values), asked=asked)
    assert set(overruled.unset) == {"S3_ACCESS_KEY_ID_FILE", "S3_SECRET_ACCESS_KEY_FILE"}
    assert "S3_ACCESS_KEY_ID_FILE" not in overruled.variables
