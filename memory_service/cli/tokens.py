"""Commands about the file of tokens: who may do what in which pools."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from memory_service.cli.asking import add_json
from memory_service.cli.command import Command, Environment
from memory_service.cli.output import Answer
from memory_service.errors import InvalidArgument


def _create(options: argparse.Namespace) -> Answer:
    from memory_service.security.token_file import create_token

    made = create_token(options.file, options.id, _rights(options.allow), expires=options.expires)
    return {
        "id": options.id,
        "token": made.text,
        "note": "shown once; a server that runs takes it after SIGHUP",
    }


def _list(options: argparse.Namespace) -> Answer:
    from memory_service.security.token_file import list_tokens

    return [
        {
            "id": token.id,
            "allow": " ".join(f"{pool}:{','.join(sorted(rights))}" for pool, rights in token.rights.items()),
            "expires": _date(token.expires_unix_s),
            "expired": token.expired,
        }
        for token in list_tokens(options.file)
    ]


def _revoke(options: argparse.Namespace) -> Answer:
    from memory_service.security.token_file import revoke_token

    revoked = revoke_token(options.file, options.id)
    return {"revoked": revoked.id, "note": "a server that runs forgets it after SIGHUP"}


def _rights(grants: Sequence[str]) -> dict[str, list[str]]:
    """Pool -> rights, of "POOL:RIGHT,RIGHT"."""
    rights: dict[str, list[str]] = {}
    for grant in grants:
        pool, colon, names = grant.partition(":")
        if not (pool and colon and names):
            raise InvalidArgument(
                f"{grant!r} grants nothing",
                field="allow",
                expected="POOL:read,write,admin; or * for every pool",
            )
        rights.setdefault(pool, []).extend(names.split(","))
    return rights


def _date(unix_s: float | None) -> str | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")


def _file(parser: argparse.ArgumentParser, environment: Environment) -> None:
    said = environment.get("REVERIE_MEMORY_TOKENS_FILE") or None
    parser.add_argument(
        "--file",
        type=Path,
        default=said,
        required=said is None,
        metavar="FILE",
        help="the server's --tokens-file (REVERIE_MEMORY_TOKENS_FILE)",
    )
    add_json(parser)


def _id_and_file(parser: argparse.ArgumentParser, environment: Environment) -> None:
    parser.add_argument("id", metavar="ID", help="name of the token; appears in logs, unlike its secret")
    _file(parser, environment)


def _new_token(parser: argparse.ArgumentParser, environment: Environment) -> None:
    _id_and_file(parser, environment)
    parser.add_argument(
        "--allow",
        action="append",
        required=True,
        metavar="POOL:RIGHTS",
        help="rights in a pool, or * for every pool: read, write, admin; may be given several times",
    )
    parser.add_argument("--expires", metavar="TIME", help="ISO 8601, e.g. 2027-01-31T00:00:00Z")


COMMANDS = (
    Command(
        name="tokens",
        help="create, list or revoke tokens in a server's file",
        example="reverie-memory tokens create studio --file tokens.json --allow films:read,write",
        commands=(
            Command(
                name="create",
                help="add a token and print it, once",
                example="reverie-memory tokens create studio --file tokens.json --allow films:read,write",
                arguments=_new_token,
                run=_create,
            ),
            Command(
                name="list",
                help="the tokens of a file and their rights; secrets are not in it",
                example="reverie-memory tokens list --file tokens.json",
                arguments=_file,
                run=_list,
            ),
            Command(
                name="revoke",
                help="remove a token",
                example="reverie-memory tokens revoke studio --file tokens.json",
                arguments=_id_and_file,
                run=_revoke,
            ),
        ),
    ),
)
