"""reverie-generate backbones: which generators are there, and how to fetch the others."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from generator.weights import hub, user_files

if TYPE_CHECKING:
    from generator.options.groups import Commands

READY, MISSING = "ready", "missing"


def add(commands: Commands) -> None:
    words = (
        "Which generators are there, and the commands that fetch what others lack. Fetches nothing itself."
    )
    listing = commands.add_parser("backbones", help="which generators are there", description=words)
    listing.add_argument(
        "--weights",
        type=Path,
        default=user_files.WEIGHTS,
        metavar="DIR",
        help="root of all published weights; default: %(default)s",
    )
    listing.add_argument("--json", action="store_true", help="one object, for programs")
    listing.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    found = survey(options.weights.expanduser())
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        Console().print(to_read(found), soft_wrap=True, highlight=False, markup=False)
    return 0


def survey(root: Path) -> dict[str, Any]:
    """State, what is missing and the commands, by backbone and for the retrieval encoder."""
    lacking: dict[str, list[hub.HubFile]] = {name: hub.missing(name, root) for name in hub.GENERATORS}
    lacking["retrieval encoder"] = [] if hub.is_there(hub.ENCODER, root) else [hub.ENCODER[0]]
    every = list(dict.fromkeys(file for files in lacking.values() for file in files))
    return {
        "root": str(root),
        "states": {"toy": _state([])} | {name: _state(files) for name, files in lacking.items()},
        "commands": [
            {"command": command, "size": hub.size(files), "for": _users(files, lacking)}
            for files in _by_repo(every)
            for command in hub.commands(files, root)
        ],
    }


def to_read(found: dict[str, Any]) -> str:
    """The same for people."""
    width = max(map(len, found["states"]))
    lines = [f"published weights below {found['root']}", ""]
    for name, state in found["states"].items():
        what = f"  files: {len(state['missing'])}, size: {state['size']}" if state["missing"] else ""
        lines.append(f"  {name:{width}}  {state['state']}{what}")
    lines.append(f"  {'wan':{width}}  any text-to-video Wan in diffusers' layout: --weights FOLDER")
    if found["commands"]:
        lines += ["", "fetch what is missing (hf comes with the generator; sizes as the hub shows them):"]
    for entry in found["commands"]:
        lines += ["", f"  # {', '.join(entry['for'])}: {entry['size']}", f"  {entry['command']}"]
    if found["commands"]:
        lines += ["", f"{hub.RAG} has the generators and their adapters under checkpoints/ as well; files"]
        lines += [f"fetched from there into {Path(found['root']) / 'LongLive-RAG'} are found too."]
    return "\n".join(lines)


def _state(lacking: list[hub.HubFile]) -> dict[str, Any]:
    files = [f"{file.repo}/{file.path}" for file in lacking]
    return {"state": MISSING if lacking else READY, "missing": files, "size": hub.size(lacking)}


def _by_repo(files: list[hub.HubFile]) -> list[list[hub.HubFile]]:
    return [[file for file in files if file.repo == repo] for repo in dict.fromkeys(f.repo for f in files)]


def _users(files: list[hub.HubFile], lacking: dict[str, list[hub.HubFile]]) -> list[str]:
    """The names that lack any of the files."""
    return [name for name, missing in lacking.items() if not set(files).isdisjoint(missing)]
