"""Shell completion: three short scripts that ask this command, and its answers."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from memory_service.cli.asking import KEY_METAVAR, POOL_METAVAR, connected
from memory_service.cli.command import Command, Environment
from memory_service.cli.output import Answer
from memory_service.errors import ServiceError

_ASK_TIMEOUT_S = 0.5
_MAX_KEYS = 200
"""Videos offered of one pool: more are no help to who types."""

SCRIPTS = {
    "bash": """\
_reverie_memory() {
    local IFS=$'\\n'
    COMPREPLY=($(reverie-memory complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o bashdefault -o default -F _reverie_memory reverie-memory
""",
    "zsh": """\
#compdef reverie-memory
_reverie_memory() {
    local -a found
    found=("${(@f)$(reverie-memory complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        compadd -- "${found[@]}"
    else
        _files
    fi
}
compdef _reverie_memory reverie-memory
""",
    "fish": """\
function __reverie_memory_complete
    set -l words (commandline -opc) (commandline -ct)
    reverie-memory complete -- $words[2..-1] 2>/dev/null
end
complete -c reverie-memory -a '(__reverie_memory_complete)'
""",
}
"""Shell -> what its user loads, e.g. eval "$(reverie-memory completion bash)"."""


def commands(tree: Callable[[], argparse.ArgumentParser]) -> Sequence[Command]:
    """The command that prints a script, and the one that the scripts ask. `tree` is the whole parser."""

    def script(options: argparse.Namespace) -> Answer:
        print(SCRIPTS[options.shell], end="")
        return None

    def complete(options: argparse.Namespace) -> Answer:
        print("\n".join(completions(tree(), options.words)))
        return None

    return (
        Command(
            name="completion",
            help="print a script that completes commands, options, pools and videos",
            example='eval "$(reverie-memory completion bash)"',
            arguments=_shell,
            run=script,
        ),
        Command(
            name="complete",
            help="print what may stand for the last of some words; for the scripts of `completion`",
            example="reverie-memory complete -- sh",
            arguments=_words,
            run=complete,
        ),
    )


def completions(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """What the last of `words`, which may be empty, can become."""
    *before, prefix = words or [""]
    position = 0
    takes_value: argparse.Action | None = None
    for word in before:
        below = _subparsers(parser)
        if takes_value is not None:
            takes_value = None
        elif word.startswith("-"):
            option = parser._option_string_actions.get(word)
            takes_value = option if option is not None and option.nargs != 0 else None
        elif below and word in below:
            parser, position = below[word], 0
        else:
            position += 1
    return [
        word for word in _candidates(parser, takes_value, position, prefix, before) if word.startswith(prefix)
    ]


def _candidates(
    parser: argparse.ArgumentParser,
    option: argparse.Action | None,
    position: int,
    prefix: str,
    before: Sequence[str],
) -> Iterable[str]:
    if option is not None:
        return list(map(str, option.choices or ()))
    if prefix.startswith("-"):
        return parser._option_string_actions
    if below := _subparsers(parser):
        return below
    positionals = parser._get_positional_actions()
    if not positionals:
        return ()
    wanted = positionals[min(position, len(positionals) - 1)]
    if position >= len(positionals) and wanted.nargs != "+":
        return ()
    if wanted.choices:
        return list(map(str, wanted.choices))
    return _names(parser, wanted, prefix, before)


def _names(
    parser: argparse.ArgumentParser, wanted: argparse.Action, prefix: str, before: Sequence[str]
) -> list[str]:
    """Pools and videos of the memory that the options before name; none where it does not answer."""
    if wanted.metavar not in (POOL_METAVAR, KEY_METAVAR, "POOL[/VIDEO]"):
        return []
    options = argparse.Namespace()
    defaults = {action.dest: action.default for action in parser._actions} | parser._defaults
    for dest, value in defaults.items():
        setattr(options, dest, value)
    for flag, value in pairwise(before):
        if flag.startswith("--") and (action := parser._option_string_actions.get(flag)) is not None:
            setattr(options, action.dest, value)
    options.timeout = _ASK_TIMEOUT_S
    try:
        memory = connected(options)
        try:
            pool, slash, _ = prefix.partition("/")
            if not slash:
                end = "/" if wanted.metavar == KEY_METAVAR else ""
                return [found.pool + end for found in memory.list_pools()]
            return [str(found.key) for found in memory.list_videos(pool, limit=_MAX_KEYS)]
        finally:
            memory.close()
    except ServiceError:
        return []


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _shell(parser: argparse.ArgumentParser, environment: Environment) -> None:  # noqa: ARG001
    parser.add_argument("shell", choices=SCRIPTS)


def _words(parser: argparse.ArgumentParser, environment: Environment) -> None:  # noqa: ARG001
    parser.add_argument("words", nargs="*", metavar="WORD")
