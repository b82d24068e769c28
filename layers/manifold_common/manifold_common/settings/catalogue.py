"""The flat list of all settings, read off the model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from manifold_common.settings.fields import Kind, Section, Unserved
from manifold_common.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as people need to know it.

    Attributes:
        key: as in the file, ``projects.workspace.tmpfsDir``.
        path: attribute names from the root, ``("projects", "workspace", "tmpfs_dir")``.
        env: its environment variables; the first that is set counts.
        fallback: variables that count only when nothing else sets it.
        type: a short name of the type.
        kind: the type in words.
        limits: what further restricts it, or empty.
        choices: the values of an enumeration, else empty.
        default: as text; empty when there is none.
        description: what it does, with its unit.
        secret: never shown.
        in_file: each of its variables has a twin, with ``_FILE`` added, that names a file with the value.
        is_path: relative values start at the folder of whatever set them.
        is_list: several values, separated by commas or given as a YAML list.
        unserved: why it has no effect yet; ``None``: it has one.
    """

    key: str
    path: tuple[str, ...]
    env: tuple[str, ...]
    fallback: tuple[str, ...]
    type: str
    kind: str
    limits: str
    choices: tuple[str, ...]
    default: str
    description: str
    secret: bool
    in_file: bool
    is_path: bool
    is_list: bool
    unserved: Unserved | None

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of ``env``, with those that name a file."""
        return tuple(
            name for plain in self.env for name in ((plain, file_variable(plain)) if self.in_file else (plain,))
        )

    @property
    def is_taken(self) -> bool:
        """Whether it has an effect, or what is given for it is taken with a warning that it has none yet."""
        return self.unserved is None or self.unserved.harmless

    @property
    def allowed(self) -> str:
        """What a value may be, to complete "must be ..."."""
        return f"{self.kind}, {self.limits}" if self.limits else self.kind

    def value(self, settings: Settings) -> Any:
        """Return its value in ``settings``."""
        return reduce(getattr, self.path, settings)


def file_variable(name: str) -> str:
    """Return the variable that names a file with the value of ``name``, as images of Docker have it."""
    return f"{name}_FILE"


@dataclass(frozen=True, slots=True)
class Group:
    """A section: its key (empty for the root), what it is about, and its own settings, without nested sections'."""

    key: str
    title: str
    settings: tuple[Setting, ...]


@cache
def groups() -> tuple[Group, ...]:
    """Return all sections, depth first."""
    return tuple(_walk(Settings, (), (), "", None))


@cache
def describe_settings() -> tuple[Setting, ...]:
    """Return all settings, in the order of the reference page."""
    return tuple(setting for group in groups() for setting in group.settings)


def _walk(
    model: type[Section], path: tuple[str, ...], key: tuple[str, ...], prefix: str, unserved: Unserved | None
) -> list[Group]:
    own: list[Setting] = []
    nested: list[Group] = []
    for name, field in model.model_fields.items():
        here, here_key = (*path, name), (*key, field.alias or name)
        extra: Any = field.json_schema_extra
        lack = extra["unserved"] or unserved
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            nested += _walk(field.annotation, here, here_key, (extra["env"] or prefix + name.upper()) + "_", lack)
        else:
            own.append(_describe(field, here, here_key, tuple(extra["env"]) or (prefix + name.upper(),), lack))
    return [Group(".".join(key), " ".join((model.__doc__ or "").split()), tuple(own)), *nested]


def _describe(
    field: FieldInfo, path: tuple[str, ...], key: tuple[str, ...], env: tuple[str, ...], unserved: Unserved | None
) -> Setting:
    extra: Any = field.json_schema_extra
    base, kind, choices = _kind_of(field)
    secret = base is SecretStr or (get_origin(base) is tuple and get_args(get_args(base)[0])[:1] == (SecretStr,))
    return Setting(
        key=".".join(key),
        path=path,
        env=env,
        fallback=tuple(extra["fallback"]),
        type=kind.label,
        kind=kind.allowed,
        limits=_limits_of(field),
        choices=choices,
        default=_size(field.default) if kind.label == "size" else _default_of(field),
        description=field.description or "",
        secret=secret,
        in_file=secret or extra["in_file"],
        is_path=base is Path,
        is_list=get_origin(base) is tuple,
        unserved=unserved,
    )


_PLAIN_KINDS = {
    str: Kind("text", "text"),
    SecretStr: Kind("secret", "text"),
    bool: Kind("true/false", "true or false"),
    int: Kind("whole number", "a whole number"),
    float: Kind("number", "a number"),
}


def _kind_of(field: FieldInfo) -> tuple[Any, Kind, tuple[str, ...]]:
    base: Any = field.annotation
    kind = next((item for item in field.metadata if isinstance(item, Kind)), None)
    if get_origin(base) in (Union, UnionType):
        (base,) = (option for option in get_args(base) if option is not NoneType)
    if get_origin(base) is Annotated:
        base, *metadata = get_args(base)
        kind = next(item for item in metadata if isinstance(item, Kind))
    if get_origin(base) is Literal:
        choices = get_args(base)
        return str, Kind(" \\| ".join(f"`{choice}`" for choice in choices), "one of " + ", ".join(choices)), choices
    return base, kind or _PLAIN_KINDS[base], ()


def _limits_of(field: FieldInfo) -> str:
    limits = {name: getattr(item, name) for item in field.metadata for name in ("ge", "gt", "le", "pattern")
              if getattr(item, name, None) is not None}  # fmt: skip
    words = []
    if "ge" in limits:
        words.append(f"at least {limits['ge']}")
    if "gt" in limits:
        words.append(f"more than {limits['gt']}")
    if "le" in limits:
        words.append(f"at most {limits['le']}")
    if "pattern" in limits:
        words.append(f"matching {limits['pattern']}")
    return " and ".join(words)


def _default_of(field: FieldInfo) -> str:
    default = field.default
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, Path):
        return str(default).replace("{", "<").replace("}", ">")
    return str(default)


def _size(count: int) -> str:
    """Return a number of bytes with the largest binary unit that leaves it whole."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count and count % (1 << power) == 0:
            return f"{count >> power}{unit}"
    return str(count)
