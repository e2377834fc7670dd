"""A PostgreSQL of one's own: a cluster in a temporary folder, reachable by a socket in it alone."""

import os
import shutil
import subprocess
from pathlib import Path


def programs() -> Path | None:
    """Return the folder of initdb and pg_ctl; None if PostgreSQL is not installed."""
    found = shutil.which("pg_ctl")
    if found:
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    return folders[-1] if folders else None


class Server:
    """A cluster that runs until `stop`."""

    def __init__(self, folder: Path) -> None:
        self._programs, self._data, self._sockets = programs(), folder / "data", folder
        # PostgreSQL does not run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            import pwd  # Windows has none

            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
            folder.chmod(0o755)
        self._call("initdb", "-D", self._data, "-A", "trust", "-U", "node", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c max_connections=50"
        self._call("pg_ctl", "-D", self._data, "-w", "-l", folder / "log", "-o", options, "start")

    @property
    def address(self) -> str:
        """What libpq takes."""
        return f"host={self._sockets} user=node dbname=postgres"

    def stop(self) -> None:
        """Stop it at once."""
        self._call("pg_ctl", "-D", self._data, "-m", "immediate", "stop")

    def _call(self, program: str, *words: object) -> None:
        command = [self._programs / program, *map(str, words)]
        subprocess.run(
            command,
            check=True,
            user=self._user,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
