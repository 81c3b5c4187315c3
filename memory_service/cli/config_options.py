"""One command-line option and one environment variable for every field of ServiceConfig.

Names, types, defaults and help come from the dataclass and the docstrings under its fields, so that a new
field is an option as soon as it is there.
"""

import argparse
import ast
import dataclasses
import enum
import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from memory_service.cli.quantities import human_bytes, num_bytes, seconds
from memory_service.config import ServiceConfig

PREFIX = "REVERIE_MEMORY_"

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclasses.dataclass(frozen=True, slots=True)
class ConfigOption:
    """How the command line and the environment spell one field of ServiceConfig."""

    field: str
    kind: Any
    default: Any
    help: str

    @property
    def word(self) -> str:
        """The field without its unit, which the metavar has, and without "_dir"."""
        for suffix in ("_s", "_dir"):
            if self.field.endswith(suffix):
                return self.field.removesuffix(suffix)
        return self.field

    @property
    def flag(self) -> str:
        return f"--{self.word.replace('_', '-')}"

    @property
    def variable(self) -> str:
        return f"{PREFIX}{self.word.upper()}"

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING

    @property
    def shown_default(self) -> str:
        """As help and documentation have it."""
        if self.required:
            return "required"
        if self.default is None:
            return "none"
        if self.kind is bool:
            return "on" if self.default else "off"
        if self.field.endswith("_bytes"):
            return human_bytes(self.default) if self.default else "0"
        return f"{self.default:g} s" if self.field.endswith("_s") else str(self.default)

    def add_to(self, parser: argparse._ArgumentGroup, environment: Mapping[str, str]) -> None:
        """Add the option; what the environment says is its default, and read as the option is."""
        said = environment.get(self.variable) or None  # empty: as if it were not there
        words = f"{self.help} (default: {self.shown_default}; {self.variable})".replace("%", "%%")
        if self.kind is bool:
            default = self.default if said is None else _boolean(self.variable, said)
            parser.add_argument(
                self.flag, dest=self.field, action=argparse.BooleanOptionalAction, default=default, help=words
            )
            return
        parser.add_argument(
            self.flag,
            dest=self.field,
            type=self._parser(),
            default=said if said is not None else None if self.required else self.default,
            required=self.required and said is None,
            choices=self._choices(),
            metavar=self._metavar(),
            help=words,
        )

    def _parser(self) -> Callable[[str], Any]:
        if self.field.endswith("_bytes"):
            return num_bytes
        if self.field.endswith("_s"):
            return seconds
        parser: Callable[[str], Any] = self.kind
        return parser

    def _choices(self) -> list[str] | None:
        members = type(self.default) if isinstance(self.default, enum.Enum) else None
        return None if members is None else [str(member) for member in members]

    def _metavar(self) -> str | None:
        if self._choices() is not None:
            return None
        if self.field.endswith("_s"):
            return "S"
        if self.kind is int:
            return "N"
        return {"data_dir": "DIR"}.get(self.field, "PATH" if self.kind is Path else "TEXT")


def config_options() -> list[ConfigOption]:
    """One for each field, in the order of the fields."""
    hints, words = typing.get_type_hints(ServiceConfig), field_docstrings(ServiceConfig)
    return [
        ConfigOption(field.name, _plain(hints[field.name]), field.default, words[field.name])
        for field in dataclasses.fields(ServiceConfig)
    ]


def field_docstrings(cls: type) -> dict[str, str]:
    """The string under each field of a dataclass: Python keeps these strings only in the source."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    words: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            words[field.target.id] = " ".join(str(below.value.value).split()).removesuffix(".")
    return words


def _plain(hint: Any) -> Any:
    """The type of a field without its None."""
    if isinstance(hint, types.UnionType):
        (hint,) = (one for one in typing.get_args(hint) if one is not type(None))
    return hint


def _boolean(variable: str, text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"{variable} is {text!r}, expected one of {', '.join(_TRUE + _FALSE)}")
