"""Tokens and their file: what is let in, what is refused, what is kept of a secret."""

import fcntl
import json
import os
import re
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from memory_service.errors import AlreadyExists, InvalidArgument, NotFound, Unauthenticated, Unavailable
from memory_service.security.token_file import create_token, list_tokens, read_tokens, revoke_token
from memory_service.security.tokens import EVERY_POOL, Right, Token, Tokens, digest

READ = {"pool": ["read"]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def write(file: Path, content: Any) -> None:
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    file.chmod(0o600)


def entry(**changes: Any) -> dict[str, Any]:
    return {"id": "a", "sha256": digest("s"), "rights": {"pool": ["read"]}, **changes}


def test_a_new_token_is_let_in_with_its_rights(file: Path) -> None:
    new = create_token(file, "trainer", {"pool": ["read", "write"], "*": ["admin"]})
    token = read_tokens(file).authenticate(f"Bearer {new.text}")
    assert re.fullmatch(r"rvr_trainer_[0-9a-f]{64}", new.text)
    assert token == new.entry
    assert token.allows(Right.READ, "pool")
    assert token.allows(Right.ADMIN, "pool")
    assert token.allows(Right.ADMIN, EVERY_POOL)
    assert not token.allows(Right.READ, "other")
    assert not token.allows(Right.READ, EVERY_POOL)


def test_rights_do_not_include_each_other(file: Path) -> None:
    token = create_token(file, "admin", {"pool": ["admin"]}).entry
    assert [right for right in Right if token.allows(right, "pool")] == [Right.ADMIN]


def test_the_file_keeps_no_secret_and_is_nobody_elses(file: Path) -> None:
    new = create_token(file, "a", READ)
    assert new.text.rpartition("_")[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_secrets_differ(file: Path) -> None:
    texts = {create_token(file, f"t{i}", READ).text.rpartition("_")[2] for i in range(20)}
    assert len(texts) == 20


def test_a_revoked_token_is_not_let_in(file: Path) -> None:
    gone, stays = create_token(file, "gone", READ), create_token(file, "stays", READ)
    assert revoke_token(file, "gone") == gone.entry
    tokens = read_tokens(file)
    tokens.authenticate(f"Bearer {stays.text}")
    with pytest.raises(Unauthenticated):
        tokens.authenticate(f"Bearer {gone.text}")
    with pytest.raises(NotFound):
        revoke_token(file, "gone")


def test_ids_are_used_once(file: Path) -> None:
    create_token(file, "a", READ)
    with pytest.raises(AlreadyExists):
        create_token(file, "a", READ)
    assert len(list_tokens(file)) == 1


def test_expiry(file: Path) -> None:
    past = create_token(file, "past", READ, expires="2020-01-01T00:00:00Z")
    future = create_token(file, "future", READ, expires="2999-01-01T00:00:00+01:00")
    tokens = read_tokens(file)
    assert tokens.authenticate(f"Bearer {future.text}").expires_unix_s == future.entry.expires_unix_s
    with pytest.raises(Unauthenticated, match="past has expired"):
        tokens.authenticate(f"Bearer {past.text}")
    assert tokens.holds(future.entry)
    assert not tokens.holds(past.entry)


@pytest.mark.parametrize("text", ["tomorrow", "2030-01-01", "2030-01-01T00:00:00", ""])
def test_times_without_a_zone_are_refused(file: Path, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        create_token(file, "a", READ, expires=text)
    assert caught.value.field == "expires"
    assert not file.exists()


def test_a_token_whose_rights_changed_is_another(file: Path) -> None:
    token = create_token(file, "a", READ).entry
    fewer = Token("a", token.sha256, {"pool": frozenset([Right.WRITE])})
    assert Tokens([token]).holds(token)
    assert not Tokens([fewer]).holds(token)


@pytest.mark.parametrize("token_id", ["", "a_b", "a b", "-a", "x" * 65, "a\n", "\u00e4"])
def test_bad_token_ids(file: Path, token_id: str) -> None:
    with pytest.raises(InvalidArgument):
        create_token(file, token_id, READ)


@pytest.mark.parametrize(
    "rights",
    [
        {},
        {"pool": []},
        {"pool": ["execute"]},
        {"../x": ["read"]},
        {"po*": ["read"]},
        {"pool": "read"},
        {"": ["read"]},
    ],
)
def test_bad_rights(file: Path, rights: Any) -> None:
    with pytest.raises(InvalidArgument):
        create_token(file, "a", rights)
    assert not file.exists()


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666, 0o620, 0o601])
def test_a_file_that_others_can_use_is_refused(file: Path, mode: int) -> None:
    create_token(file, "a", READ)
    file.chmod(mode)
    with pytest.raises(InvalidArgument, match=f"{mode:04o}") as caught:
        read_tokens(file)
    assert caught.value.field == "tokens_file"


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o640])
def test_a_file_that_a_group_reads_is_not(file: Path, mode: int) -> None:
    create_token(file, "a", READ)
    file.chmod(mode)
    assert len(read_tokens(file)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    create_token(file, "a", READ)
    os.chown(file, 12345, 12345)
    with pytest.raises(InvalidArgument, match="user 12345"):
        read_tokens(file)


def test_the_mode_stays_when_the_file_changes(file: Path) -> None:
    create_token(file, "a", READ)
    file.chmod(0o640)
    create_token(file, "b", READ)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_missing_file_is_unavailable(file: Path) -> None:
    with pytest.raises(Unavailable):
        read_tokens(file)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        {},
        {"tokens": {}},
        {"tokens": [], "more": 1},
        {"tokens": ["a"]},
        {"tokens": [entry(id=5)]},
        {"tokens": [entry(sha256="short")]},
        {"tokens": [entry(sha256=digest("s").upper())]},
        {"tokens": [entry(rights={})]},
        {"tokens": [entry(rights={"pool": "read"})]},
        {"tokens": [entry(rights={"pool": [["read"]]})]},
        {"tokens": [entry(rights={"pool": ["Read"]})]},
        {"tokens": [entry(rights=["read"])]},
        {"tokens": [entry(expires=1999)]},
        {"tokens": [entry(expires="soon")]},
        {"tokens": [entry(right={})]},
        {"tokens": [{"id": "a", "sha256": digest("s")}]},
        {"tokens": [entry(), entry()]},
    ],
)
def test_files_that_are_wrong(file: Path, content: Any) -> None:
    write(file, content)
    with pytest.raises(InvalidArgument):
        read_tokens(file)


def test_a_right_entry_is_right(file: Path) -> None:
    write(file, {"tokens": [entry()]})
    assert read_tokens(file).authenticate("Bearer rvr_a_s").id == "a"


def test_tokens_made_at_once_are_all_there(file: Path) -> None:
    makers = [threading.Thread(target=create_token, args=(file, f"t{i}", READ)) for i in range(16)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert {token.id for token in list_tokens(file)} == {f"t{i}" for i in range(16)}


def test_a_file_behind_a_link_is_changed_where_it_lies(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    create_token(folder / "tokens.json", "a", READ)
    file.symlink_to(folder / "tokens.json")
    create_token(file, "b", READ)
    assert file.is_symlink()
    assert len(list_tokens(folder / "tokens.json")) == 2


def test_who_comes_by_a_link_waits_for_who_does_not(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    file.symlink_to(folder / "tokens.json")
    maker = threading.Thread(target=create_token, args=(file, "a", READ))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        maker.start()
        maker.join(0.3)
        assert maker.is_alive()
        assert not list(folder.iterdir())
    finally:
        os.close(lock)
    maker.join()
    assert [token.id for token in list_tokens(file)] == ["a"]


def test_links_in_a_circle_are_unavailable(file: Path) -> None:
    file.symlink_to(file)
    with pytest.raises(Unavailable) as caught:
        create_token(file, "a", READ)
    assert caught.value.field == "tokens_file"
    assert file.is_symlink()


def test_a_pipe_is_refused_and_not_waited_for(file: Path) -> None:
    os.mkfifo(file, 0o600)
    with pytest.raises(InvalidArgument, match="no regular file"):
        read_tokens(file)
