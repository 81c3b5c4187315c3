"""The directory of a pool, which is one and not a link to one."""

from pathlib import Path

from memory_service.errors import Unavailable


def pool_directory(root: Path, pool: str) -> Path:
    """Where a pool is or would be. Its name must have been validated.

    Raises Unavailable where a symbolic link stands there: what lies behind it need not be ours to write to.
    """
    folder = root / pool
    if folder.is_symlink():
        raise Unavailable(
            f"pool {pool} is a symbolic link: {folder}", field="pool", expected="a directory, or nothing"
        )
    return folder
