"""A PACS of one's own: Debian's Orthanc with its DICOMweb plugin, in a folder, on the loopback."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

_PLUGINS = (
    "/usr/share/orthanc/plugins/libOrthancDicomWeb.so",
    "/usr/local/share/orthanc/plugins/libOrthancDicomWeb.so",
)


def installed() -> bool:
    """Tell whether Orthanc and its DICOMweb plugin are there."""
    return shutil.which("Orthanc") is not None and any(Path(plugin).exists() for plugin in _PLUGINS)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Orthanc:
    """An Orthanc that can be stopped and started again with what it keeps."""

    def __init__(self, folder: Path, **settings) -> None:
        self.folder, self.http, self.dicom = folder, free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        plugin = next(plugin for plugin in _PLUGINS if Path(plugin).exists())
        values = {
            "Name": "tests", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "HttpPort": self.http, "DicomPort": self.dicom, "DicomAet": "ORTHANC", "Plugins": [plugin],
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "HttpThreadsCount": 8,
            "DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False, "OverwriteInstances": False,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False, "Host": "127.0.0.1"},
            **settings,
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(values))
        self.process: subprocess.Popen | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/dicom-web"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["Orthanc", str(self.folder / "orthanc.json")], stdout=log, stderr=log, cwd=self.folder
            )
        for _ in range(300):
            try:
                self.get("/system")
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait(30)
            self.process = None

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def raw(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read()

    def send(self, content: bytes) -> dict:
        """Put an object into it."""
        with urllib.request.urlopen(self.url + "/instances", data=content, timeout=30) as answer:
            return json.load(answer)

    def instances(self) -> dict[str, dict]:
        """Its objects by their SOP instance UID, with Modality, Orthanc's id, and the UIDs that they refer to."""
        found = {}
        for one in self.get("/instances?expand"):
            tags = self.get(f"/instances/{one['ID']}/simplified-tags")
            found[tags["SOPInstanceUID"]] = tags | {"ID": one["ID"]}
        return found

    def file(self, identifier: str) -> bytes:
        """The bytes of an object as they were stored."""
        return self.raw(f"/instances/{identifier}/file")
