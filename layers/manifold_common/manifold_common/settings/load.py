"""From files and variables to ``Settings``: each value from its strongest source, every problem reported at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from manifold_common.errors import ConfigError
from manifold_common.nearest import did_you_mean, nearest
from manifold_common.settings.catalogue import Setting, describe_settings, file_variable
from manifold_common.settings.checks import check
from manifold_common.settings.holders import not_held, strays
from manifold_common.settings.model import Aws, Settings
from manifold_common.settings.problem import Problem, config_error, shown
from manifold_common.settings.secretfile import Unusable, read_secret_file
from manifold_common.settings.source import SettingsSource
from manifold_common.settings.variables import CannotExpand, Variables, parse_dotenv

CONFIG_VARIABLE = "MANIFOLD_CONFIG"
CONFIG_NAME = "config.yaml"
DOTENV_NAME = ".env"
_OURS = ("AUTH_", "PROJECT", "MANIFOLD_")
"""How variables begin that hardly any other program has."""
_LIKE_IN_ENVIRONMENT, _LIKE_IN_DOTENV = 0.88, 0.8
"""The environment is everybody's, ``.env`` is ours and the compose files'."""
MAX_FILE_BYTES = 1024 * 1024

_NAMED_BY = "functions.secretsId"

OpenSecret = Callable[[str, Aws], Mapping[str, str]]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Found(NamedTuple):
    """A value as it was written, where, and the folder at which a relative path starts."""

    written: str | tuple[str, ...]
    where: str
    folder: Path
    expands: bool = True
    names_file: bool = False
    """What was written is the path of a file, which holds the value."""
    variable: str | None = None
    """The variable that says so, of the process or of ``.env``."""


def load_settings(
    config_file: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    open_secret: OpenSecret | None = None,
    function: str | None = None,
) -> Settings:
    """Return the configuration: overrides over environment over a secret over ``.env`` over the file over defaults.

    Args:
        config_file: the file; else the variable ``MANIFOLD_CONFIG``; else ``config.yaml`` in ``cwd`` if there is one.
        environ: the variables of the process; ``os.environ`` when None.
        cwd: the current folder, for tests.
        overrides: values by key, such as ``projects.backend``, as a variable would hold them.
        open_secret: returns the variables that a secret of AWS Secrets Manager holds; called if one is named, and
            again when the settings are. Without it such a name means nothing: only functions open secrets.
        function: which of them this is, such as ``fanout``. It does without the settings that it must not hold, and a
            secret that holds one is refused. ``None``: a process that may hold all.

    Raises:
        ConfigError: with every problem that was found, not only the first; ``details["problems"]`` lists them.
        Others: as ``open_secret`` does.
    """
    try:
        folder = (cwd or Path.cwd()).absolute()
    except FileNotFoundError:
        raise ConfigError("the current folder no longer exists", hint="go to one that does: cd ~") from None

    def read() -> Settings:
        variables = os.environ if environ is None else environ
        return _Load(config_file, variables, folder, overrides or {}, open_secret, function).run()

    def override(stronger: Mapping[str, str]) -> Settings:
        return load_settings(
            config_file,
            environ=environ,
            cwd=folder,
            overrides={**(overrides or {}), **stronger},
            open_secret=open_secret,
            function=function,
        )

    settings = read()
    settings._source = SettingsSource(settings, read, override, _differences)
    return settings


def _differences(one: Settings, other: Settings) -> Sequence[str]:
    return [setting.key for setting in describe_settings() if setting.value(one) != setting.value(other)]


class _Load:
    def __init__(
        self,
        config_file: Path | None,
        environ: Mapping[str, str],
        cwd: Path,
        overrides: Mapping[str, str],
        open_secret: OpenSecret | None,
        function: str | None,
    ) -> None:
        self.environ = environ
        self.in_environ = {
            name: Found(value, f"variable {name}", cwd, expands=False, variable=name) for name, value in environ.items()
        }
        self.open_secret = open_secret
        self.function = function
        self.in_secret: Mapping[str, str] = {}
        self.overrides = overrides
        self.cwd = cwd
        self.problems: list[Problem] = []
        self.suspect: set[str] = set()
        """Keys with a problem of their own: rules between settings say nothing about these."""
        self.unreadable = False
        """A file could not be read at all: what it would have set is unknown, and not worth guessing about."""
        self.config_file = self._choose_file(config_file)

    def run(self) -> Settings:
        in_file = self._read_file()
        in_dotenv, variables = self._read_dotenv()
        if self.unreadable:
            raise config_error(self.problems)
        found, values = self._choose(describe_settings(), in_file, in_dotenv, variables)
        if self.open_secret is not None and _NAMED_BY in values:
            self.in_secret = self._read_secret(self.open_secret, values, found)
            found, values = self._choose(describe_settings(), in_file, in_dotenv, variables)
        settings = self._build(values, found)
        warnings = [*self._without_effect(settings, found), *self._misspelled(in_dotenv)]
        elsewhere = self.suspect | (not_held(self.function) if self.function is not None else set())
        for finding in check(settings):
            if elsewhere.isdisjoint(finding.keys):
                where = next((found[key].where for key in finding.keys if key in found), "")
                self.problems.append(Problem(where, finding.keys[0], finding.message, finding.hint))
        if self.problems:
            raise config_error(self.problems)
        settings._sources.update({setting.key: "default" for setting in describe_settings()})
        settings._sources.update({key: candidate.where for key, candidate in found.items()})
        settings._warnings.extend(warnings)
        settings._variables.update(
            {
                candidate.variable: (
                    setting.key,
                    None if setting.secret or candidate.names_file else str(values[setting.key]),
                )
                for setting in describe_settings()
                if (candidate := found.get(setting.key)) is not None and candidate.variable is not None
            }
        )
        settings._config_file = self.config_file
        return settings

    def _without_effect(self, settings: Settings, found: Mapping[str, Found]) -> list[Problem]:
        """Refuse what was given for a setting that is not served yet; return what is harmless of it instead."""
        warnings, given = [], found.keys() - self.suspect
        for setting in describe_settings():
            lack = setting.unserved
            if lack is None or setting.key not in given or not lack.asks(setting.value(settings)):
                continue
            if lack.harmless:
                warnings.append(Problem(found[setting.key].where, setting.key, lack.message))
            else:
                self._blame(setting, found[setting.key], lack.message, lack.instead)
        return warnings

    def _misspelled(self, in_dotenv: Mapping[str, Found]) -> list[Problem]:
        """Refuse a file's name for what is not read from files; return the variables that look like one of ours."""
        known = {name: setting for setting in describe_settings() for name in (*setting.variables, *setting.fallback)}
        warnings = []
        for name, found in (*in_dotenv.items(), *self.in_environ.items()):
            if name in known or name == CONFIG_VARIABLE or not found.written:
                continue
            plain = name.removesuffix(file_variable(""))
            if plain != name and plain in known:
                if not known[plain].in_file:
                    self._blame(known[plain], found, "is not read from a file", f"set {plain} itself")
            elif name.upper().startswith(_OURS):
                short = name.upper().removeprefix("MANIFOLD_")
                like = _LIKE_IN_DOTENV if name in in_dotenv else _LIKE_IN_ENVIRONMENT
                meant = [short] if short in known else nearest(name, known, likeness=like)
                if not meant:
                    continue
                warnings.append(Problem(found.where, "", f"{name} is no variable of a setting", did_you_mean(meant)))
        return warnings

    def _choose(
        self,
        settings: Sequence[Setting],
        in_file: Mapping[str, Found],
        in_dotenv: Mapping[str, Found],
        variables: Variables,
    ) -> tuple[dict[str, Found], dict[str, Any]]:
        """Return where each value comes from, and the value in the shape that the model validates."""
        found: dict[str, Found] = {}
        values: dict[str, Any] = {}
        for setting in settings:
            for candidate in self._candidates(setting, in_file, in_dotenv):
                value = self._expand(setting, candidate, variables)
                if value not in ("", ()):
                    found[setting.key] = candidate
                    values[setting.key] = value
                    break
        return found, values

    def _read_secret(
        self, open_secret: OpenSecret, values: Mapping[str, Any], found: Mapping[str, Found]
    ) -> Mapping[str, str]:
        """Return the secret's variables. What access to it needs comes from the other sources."""
        access = {key: value for key, value in values.items() if key.startswith("aws.") or key == _NAMED_BY}
        known = self._build(access, found)
        if self.problems or known.functions.secrets_id is None:
            raise config_error(self.problems)
        found_there = open_secret(known.functions.secrets_id, known.aws)
        if self.function is not None and (stray := strays(self.function, found_there)):
            raise config_error(stray)
        if names := _names_of_files(found_there):
            raise config_error(names)
        return found_there

    def _choose_file(self, argument: Path | None) -> Path | None:
        if argument is not None:
            return self.cwd / argument
        named = self.environ.get(CONFIG_VARIABLE)
        if named:
            return self.cwd / os.path.expanduser(named)
        usual = self.cwd / CONFIG_NAME
        return usual if os.path.lexists(usual) else None

    def _read_file(self) -> dict[str, Found]:
        if self.config_file is None:
            return {}
        text = self._read_text(self.config_file)
        if text is None:
            return {}
        from manifold_common.settings.yamlfile import parse_yaml  # costs 20 ms, and functions often have no file

        name = self._name(self.config_file)
        content = parse_yaml(text, name, describe_settings())
        self.problems += content.problems
        self.suspect |= content.suspect
        self.unreadable |= content.unreadable
        folder = self.config_file.parent
        return {key: Found(entry.value, f"{name}:{entry.line}", folder) for key, entry in content.entries.items()}

    def _read_dotenv(self) -> tuple[dict[str, Found], Variables]:
        folders = [self.cwd] if self.config_file is None else [self.config_file.parent, self.cwd]
        path = next((folder / DOTENV_NAME for folder in folders if os.path.isfile(folder / DOTENV_NAME)), None)
        text = self._read_text(path) if path else None
        if path is None or text is None:
            return {}, Variables(self.environ, {})
        name = self._name(path)
        lines, problems = parse_dotenv(text, name)
        self.problems += problems
        found = {
            variable: Found(
                line.text, f"{name}:{line.number} ({variable})", path.parent, not line.literal, variable=variable
            )
            for variable, line in lines.items()
        }
        return found, Variables(self.environ, lines)

    def _read_text(self, path: Path) -> str | None:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
            if len(data) <= MAX_FILE_BYTES:
                return data.decode("utf-8-sig")
            reason = f"larger than {MAX_FILE_BYTES} bytes"
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
        except UnicodeDecodeError as error:
            reason = f"not UTF-8 text (byte {error.start})"
        except ValueError:
            reason = "no file can have this name"
        self.problems.append(Problem(self._name(path), "", f"cannot be read: {reason}"))
        self.unreadable = True
        return None

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.cwd)) if path.is_relative_to(self.cwd) else str(path)

    def _candidates(
        self, setting: Setting, in_file: Mapping[str, Found], in_dotenv: Mapping[str, Found]
    ) -> Iterator[Found]:
        """Yield every place that sets ``setting``, strongest first."""
        if setting.key in self.overrides:
            yield Found(self.overrides[setting.key], "the program", self.cwd, expands=False)
        yield from self._in_variables(setting, setting.env, in_dotenv)
        if setting.key in in_file:
            yield in_file[setting.key]
        yield from self._in_variables(setting, setting.fallback, in_dotenv)

    def _in_variables(
        self, setting: Setting, names: tuple[str, ...], in_dotenv: Mapping[str, Found]
    ) -> Iterator[Found]:
        for name in names:
            yield from self._or_in_file(setting, name, self.in_environ)
        for name in names:
            if name in self.in_secret:
                yield Found(self.in_secret[name], f"secret ({name})", self.cwd, expands=False)
        for name in names:
            yield from self._or_in_file(setting, name, in_dotenv)

    def _or_in_file(self, setting: Setting, name: str, place: Mapping[str, Found]) -> Iterator[Found]:
        """Yield what a place says for a variable, or for the twin that names a file."""
        direct, twin = place.get(name), place.get(file_variable(name)) if setting.in_file else None
        if direct is not None and twin is not None and direct.written and twin.written:
            both = f"{name} and {file_variable(name)} are both set"
            self._blame(setting, twin, both, f"keep one of them: {name}, or the file that {file_variable(name)} names")
            return
        if direct is not None:
            yield direct
        if twin is not None:
            yield twin._replace(names_file=True, variable=file_variable(name))

    def _expand(self, setting: Setting, found: Found, variables: Variables) -> Any:
        """Return the value in the shape that the model validates; empty when it is unset or has a problem."""
        try:
            value = _each(variables.expand, found.written) if found.expands else found.written
        except CannotExpand as error:
            self._blame(setting, found, error.message, error.hint)
            return ""
        if _CONTROL.search("".join(value)):
            self._blame(setting, found, "must not contain line breaks or other control characters")
            return ""
        if isinstance(value, tuple) or not value:
            return value
        if found.names_file:
            return self._from_file(setting, found, value)
        if setting.is_path:
            path = Path(os.path.expanduser(value))
            if path.parts[0].startswith("~"):
                self._blame(setting, found, f"names the home folder of an unknown user: {path.parts[0]}")
                return ""
            return Path(os.path.normpath(found.folder / path))
        return next((choice for choice in setting.choices if choice.lower() == value.lower()), value)

    def _from_file(self, setting: Setting, found: Found, name: str) -> str:
        path = found.folder / os.path.expanduser(name)
        try:
            value = read_secret_file(path)
        except Unusable as error:
            self._blame(setting, found, f"the file {path} {error}")
            return ""
        if _CONTROL.search(value):
            self._blame(setting, found, f"the file {path} must hold one line, without other control characters")
            return ""
        return value

    def _build(self, values: dict[str, Any], found: Mapping[str, Found]) -> Settings:
        """Validate; a value that is refused is reported and left out, so that the rest can be checked too."""
        while True:
            try:
                return Settings.model_validate(_nested(values))
            except ValidationError as error:
                places = [".".join(map(str, item["loc"])) + "." for item in error.errors(include_input=False)]
                wrong = [
                    setting
                    for setting in describe_settings()
                    if setting.key in values and any(place.startswith(f"{setting.key}.") for place in places)
                ]
                if not wrong:
                    raise
            for setting in wrong:
                written = "" if setting.secret else f", not {shown(found[setting.key].written)}"
                self._blame(setting, found[setting.key], f"must be {setting.allowed}{written}")
                del values[setting.key]

    def _blame(self, setting: Setting, found: Found, message: str, hint: str = "") -> None:
        self.problems.append(Problem(found.where, setting.key, message, hint))
        self.suspect.add(setting.key)


def _names_of_files(secret: Iterable[str]) -> list[Problem]:
    """Return a problem for each variable of a secret that names a file."""
    given = set(secret)
    return [
        Problem(
            f"secret ({file_variable(name)})",
            setting.key,
            "a secret holds values, and no names of files",
            f"put the value itself into it, as {name}",
        )
        for setting in describe_settings()
        if setting.in_file
        for name in (*setting.env, *setting.fallback)
        if file_variable(name) in given
    ]


def _each(change: Callable[[str], str], value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    return change(value) if isinstance(value, str) else tuple(map(change, value))


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"a.b": 1}`` into ``{"a": {"b": 1}}``, with every section present.

    A section that pydantic makes by itself has to be compiled on its own: 25 compilations instead of one.
    """
    root: dict[str, Any] = {}
    for setting in describe_settings():
        *sections, last = setting.key.split(".")
        place = root
        for name in sections:
            place = place.setdefault(name, {})
        if setting.key in values:
            place[last] = values[setting.key]
    return root
