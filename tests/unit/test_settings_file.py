"""The YAML file: unknown keys, duplicates, and input meant to do harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifold_common.errors import ConfigError
from manifold_common.settings import Settings, load_settings


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return Load(tmp_path)


class Load:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, yaml: str | bytes) -> Settings:
        path = self.folder / "config.yaml"
        path.write_bytes(yaml if isinstance(yaml, bytes) else yaml.encode())
        return load_settings(environ={}, cwd=self.folder)

    def error(self, yaml: str | bytes) -> str:
        with pytest.raises(ConfigError) as caught:
            self(yaml)
        return str(caught.value)


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        (
            "projects:\n  bakend: s3\n",
            "config.yaml:2: projects.bakend: unknown setting (did you mean projects.backend?)",
        ),
        ("\nbucket: b\n", "config.yaml:2: bucket: unknown setting (did you mean projects.s3.bucket?)"),
        ("redis: {}\n", "config.yaml:1: redis: unknown setting (did you mean projects.redis?)"),
        (
            "projects: {workspace: {tmpfs_dir: /x}}",
            "config.yaml:1: projects.workspace.tmpfs_dir: unknown setting (did you mean projects.workspace.tmpfsDir?)",
        ),
        ("PROJECTS: {}", "config.yaml:1: PROJECTS: unknown setting (did you mean projects?)"),
        ("zebra: 1", "config.yaml:1: zebra: unknown setting (docs/configuration.md lists all settings)"),
    ],
)
def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_known_key(
    load: Load, yaml: str, expected: str
) -> None:
    assert load.error(yaml) == expected


def test_a_misspelt_key_is_not_also_reported_as_missing(load: Load) -> None:
    message = load.error("projects:\n  backend: s3\n  s3: {bukcet: b}\n")
    assert "did you mean projects.s3.bucket?" in message
    assert "needs projects.s3.bucket" not in message


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("logLevel: info\nserver: {port: 1}\nlogLevel: debug\n", "config.yaml:3: logLevel: is set a second time"),
        ("server:\n  port: 1\n  port: 1\n", "config.yaml:3: server.port: is set a second time; first on line 2"),
        ("server: {port: 1}\nserver: {host: h}\n", "config.yaml:2: server: is set a second time; first on line 1"),
    ],
)
def test_a_key_set_twice_is_refused(load: Load, yaml: str, expected: str) -> None:
    assert load.error(yaml).startswith(expected)


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("projects: s3", "config.yaml:1: projects: must be a group of settings"),
        ("projects: [backend]", "config.yaml:1: projects: must be a group of settings"),
        ("- projects", "config.yaml: must be a group of settings"),
        ("server: {port: [1]}", "server.port: must be a whole number, at least 0 and at most 65535; this is a list"),
        ("server: {port: {a: 1}}", "this is a group of settings"),
        ("projects: {events: {brokers: [[a:1]]}}", "this is a list"),
        ("? [a, b]\n: 1\n", "has a key that is not text"),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused(load: Load, yaml: str, expected: str) -> None:
    assert expected in load.error(yaml)


@pytest.mark.parametrize("yaml", ["", "# nothing\n", "---\n", "projects:\n", "projects: ~\nserver:\n  port: null\n"])
def test_empty_files_sections_and_values_mean_the_defaults(load: Load, yaml: str) -> None:
    assert load(yaml).server.port == 32180


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("server: {port: 1", "config.yaml:1: not valid YAML"),
        ("a: b: c\n", "config.yaml:1: not valid YAML"),
        ("\n\tserver: 1\n", "config.yaml:2: not valid YAML"),
        ("logLevel: info\n---\nlogLevel: info\n", "not valid YAML"),
        (b"logLevel: info\n\x00", "config.yaml:2: not valid YAML: a control character"),
        (b"\xff\xfe", "cannot be read: not UTF-8 text"),
        (b"#" + b"x" * 2**20, "cannot be read: larger than 1048576 bytes"),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(load: Load, yaml: str | bytes, expected: str) -> None:
    assert expected in load.error(yaml)


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        (BOMB, "anchors and aliases are not supported"),
        ("projects: &p {x: *p}", "anchors and aliases are not supported"),
        ("clickhouse: {dsn: *hidden}", "anchors and aliases are not supported"),
        ("workdir: !!python/object/apply:os.system ['touch HACKED']", "tags are not supported"),
        ("!!python/name:os.system x", "tags are not supported"),
        ("workdir: !!binary aGk=", "tags are not supported"),
        ("<<: {workdir: /x}", "unknown setting"),
        ("[" * 100_000, "the nesting is deeper than 16 levels"),
        ("projects: " + "{a: " * 5_000, "the nesting is deeper than 16 levels"),
        ("\n".join(" " * n + "a:" for n in range(500)), "the nesting is deeper than 16 levels"),
        ("? " * 5_000, "the nesting is deeper than 16 levels"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_hostile_yaml_is_refused_at_once(load: Load, yaml: str, expected: str) -> None:
    assert expected in load.error(yaml)
    assert not (load.folder / "HACKED").exists()


ODD_TEXTS = st.one_of(
    st.binary(max_size=300),
    st.text(alphabet="{}[]:,&*!|>'\"#-? =\n\tabprojects$S3_BUCKET", max_size=300).map(str.encode),
)


@given(in_file=ODD_TEXTS, in_dotenv=ODD_TEXTS)
def test_no_text_makes_anything_but_settings_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, in_file: bytes, in_dotenv: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "odd-texts"
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_bytes(in_file)
    (folder / ".env").write_bytes(in_dotenv)
    try:
        settings = load_settings(environ={}, cwd=folder)
    except ConfigError as error:
        assert error.details["problems"]
    else:
        assert isinstance(settings, Settings)
