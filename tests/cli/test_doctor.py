"""The doctor sees what is wrong, says what to do, and never falls ill itself."""

import json
import os
import subprocess
import sys
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest
from click.testing import CliRunner

from pneumoscan import doctor
from pneumoscan.cli import app
from pneumoscan.doctor import machine
from pneumoscan.doctor.machine import Check
from pneumoscan.errors import EnvironmentProblemError

FINE = [Check("python", "ok", "3.11"), Check("memory", "warn", "1.0 GiB", "Close other programs.")]
BROKEN = [*FINE, Check("cache folder", "fail", "/x: cannot be written", "Set PNEUMOSCAN_CACHE.")]


def shown(monkeypatch, findings, *options):
    monkeypatch.setattr(doctor, "diagnose", lambda: findings)
    return CliRunner().invoke(app, ["doctor", *options])


def test_the_table_says_what_and_what_to_do(monkeypatch):
    run = shown(monkeypatch, FINE)
    assert run.exit_code == 0
    lines = run.stdout.splitlines()
    assert lines[0].split() == ["ok", "python", "3.11"]
    assert lines[1].startswith("warn  memory")
    assert lines[2].strip() == "- Close other programs."


def test_something_that_fails_ends_in_exit_code_six(monkeypatch):
    run = shown(monkeypatch, BROKEN)
    assert isinstance(run.exception, EnvironmentProblemError)
    assert run.exception.exit_code == 6
    assert "cache folder" in run.exception.message
    assert "Set PNEUMOSCAN_CACHE." in run.stdout


def test_json_has_every_finding(monkeypatch):
    assert json.loads(shown(monkeypatch, FINE, "--json").stdout)["usable"] is True
    report = json.loads(shown(monkeypatch, BROKEN, "--json").stdout)
    assert report["usable"] is False
    assert report["findings"][2] == {
        "name": "cache folder",
        "status": "fail",
        "value": "/x: cannot be written",
        "remedy": "Set PNEUMOSCAN_CACHE.",
    }


def test_a_real_run_in_a_process_of_its_own(tmp_path):
    code = (
        "import sys; sys.argv = ['pneumoscan', 'doctor', '--json']\n"
        "from pneumoscan.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'onnxruntime', 'torchvision') if m in sys.modules], file=sys.stderr)"
    )
    (tmp_path / "torch.py").write_text("raise SystemExit('the wrong torch')")
    environment = {
        **os.environ,
        "PNEUMOSCAN_CACHE": str(tmp_path / "ä" / "cache"),
        "PYTHONIOENCODING": "ascii",
    }
    run = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.stderr.strip() == "[]"
    assert run.returncode == 0
    found = {finding["name"]: finding for finding in json.loads(run.stdout)["findings"]}
    assert found["import torch"]["status"] == "ok"
    assert found["import pillow"]["value"] == "jpg yes; zlib yes"
    assert "JPEG 2000 yes" in found["import imagecodecs"]["value"]
    assert found["cache folder"]["value"].endswith("cache")
    assert not (tmp_path / "ä").exists()
    assert all(finding["remedy"] for finding in found.values() if finding["status"] != "ok")


# Packages


def versions(monkeypatch, installed):
    monkeypatch.setattr(doctor, "installed_version", installed.get)


def test_versions_are_compared_with_the_packages_own_requirements(monkeypatch):
    lines = ["numpy>=1.26", "onnx>=1.17; extra == 'tensorboard'", "onnx>=1.17; extra == 'train'", "pillow>=12.0",
             "torch>=2.9; extra == 'train'", "kagglehub>=0.3; extra == 'fetch'", "ruff>=0.8; extra == 'dev'",
             "pneumoscan[train]; extra == 'dev'", "rich>=13.7", "highdicom>=0.28; extra == 'node'",
             "highdicom>=0.28; extra == 'node-postgres'", "uvicorn<0.55,>=0.40; extra == 'web'", "psycopg[binary]>=3.2; extra == 'node-postgres'"]  # fmt: skip
    monkeypatch.setattr(doctor.metadata, "requires", lambda _name: lines)
    versions(monkeypatch, {"numpy": "1.25.9", "pillow": "12", "torch": "2.10.0+cpu"})
    found = {finding.name: finding for finding in doctor.packages()}
    assert {name: finding.status for name, finding in found.items()} == {
        "numpy": "fail", "pillow": "ok", "rich": "fail", "onnx": "warn", "torch": "ok", "kagglehub": "ok",
        "highdicom": "ok", "psycopg": "ok", "uvicorn": "ok",
    }  # fmt: skip
    assert "pneumoscan[node]" in found["highdicom"].remedy
    assert "pneumoscan[node-postgres]" in found["psycopg"].remedy
    assert "at least 1.26" in found["numpy"].value
    assert "pneumoscan[train]" in found["onnx"].remedy


@pytest.mark.parametrize(
    ("older", "newer"),
    [("1.9", "1.26"), ("2.9.0rc1", "2.10"), ("12.0", "12.0.1"), ("0.8.dev1", "0.8.1"), ("", "0.1")],
)
def test_releases_are_ordered_as_numbers(older, newer):
    assert doctor._release(older) < doctor._release(newer)
    assert doctor._release(older + "+cpu") == doctor._release(older)


def test_running_without_a_record_is_said(monkeypatch):
    def absent(_name):
        raise doctor.metadata.PackageNotFoundError

    monkeypatch.setattr(doctor.metadata, "requires", absent)
    assert [finding.status for finding in doctor.packages()] == ["warn"]


# Imports


def probe(monkeypatch, name, code):
    monkeypatch.setattr(doctor, "_PROBES", {name: code})
    versions(monkeypatch, {name: "1.0", "torch": "2.13.0+cpu", "torchvision": "0.28.0"})
    (finding,) = doctor.imports()
    return finding


def test_a_torchvision_of_another_build_is_recognised(monkeypatch):
    finding = probe(
        monkeypatch, "torchvision", "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    assert finding.status == "warn"
    assert "operator torchvision::nms does not exist" in finding.value
    assert "two different builds" in finding.value
    assert "pip uninstall torchvision" in finding.remedy


def test_an_import_that_crashes_the_process_is_survived(monkeypatch):
    finding = probe(monkeypatch, "torch", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (finding.status, finding.value) == ("fail", "ended by signal 11")
    assert "pneumoscan[train]" in finding.remedy


def test_an_import_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 0.5)
    assert "no answer" in probe(monkeypatch, "torch", "import time; time.sleep(60)").value


def test_a_pillow_without_jpeg_fails(monkeypatch):
    finding = probe(monkeypatch, "pillow", "found |= {'jpg': False, 'zlib': True}")
    assert (finding.status, finding.value) == ("fail", "built without jpg")


def test_an_onnxruntime_that_cannot_compute_here_fails(monkeypatch):
    assert (
        probe(monkeypatch, "onnxruntime", "found['providers'] = ['CUDAExecutionProvider']").status == "fail"
    )


def test_words_on_stdout_during_an_import_do_no_harm(monkeypatch):
    assert (
        probe(monkeypatch, "numpy", "print('hello'); found['simd'] = ['AVX2', 'FMA3']").value
        == "simd AVX2 FMA3"
    )


def test_the_codecs_of_compressed_dicom_films_are_named(monkeypatch):
    finding = probe(monkeypatch, "imagecodecs", "found |= {'JPEG 2000': True, 'JPEG-LS': False}")
    assert (finding.status, finding.value, finding.remedy) == ("ok", "JPEG 2000 yes; JPEG-LS no", "")


def test_every_extra_that_a_user_may_want_is_looked_at():
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert set(doctor._EXTRAS) - {""} == set(settings["project"]["optional-dependencies"]) - {"dev", "docs"}


def test_what_is_not_installed_is_not_imported(monkeypatch):
    versions(monkeypatch, {})
    assert doctor.imports() == []


# The machine


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_tightest_quota_on_the_way_up_counts(tmp_path):
    root = tree(tmp_path, {
        "proc/self/cgroup": "0::/pod/box\n",
        "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
        "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/cpu.max": "400000 100000\n",
    })  # fmt: skip
    assert machine.cpu_quota(root) == 1.5


def test_quotas_of_the_first_version_and_of_containers_are_seen(tmp_path):
    root = tree(tmp_path, {
        "proc/self/cgroup": "4:cpu,cpuacct:/docker/0123\n3:memory:/docker/0123\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    })  # fmt: skip
    (tmp_path / "sys/fs/cgroup/cpu,cpuacct").symlink_to("cpu")
    assert machine.cpu_quota(root) == 0.5


@pytest.mark.parametrize("text", ["max 100000", "-1 100000", "", "nonsense", "100 0"])
def test_no_quota_is_no_quota(tmp_path, text):
    root = tree(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text})
    assert machine.cpu_quota(root) is None
    assert machine.cpu_quota(tmp_path / "nothing") is None


def test_memory_is_the_groups_where_that_is_less(tmp_path):
    root = tree(tmp_path, {
        "proc/meminfo": "MemTotal: 64000000 kB\nMemAvailable:   32000000 kB\n",
        "proc/self/cgroup": "0::/box\n",
        "sys/fs/cgroup/box/memory.max": str(3 << 30),
        "sys/fs/cgroup/box/memory.current": str(2 << 30),
        "sys/fs/cgroup/memory.max": "max",
    })  # fmt: skip
    assert machine.memory_available(root) == 1 << 30
    assert machine.memory(root).status == "warn"
    (root / "sys/fs/cgroup/box/memory.current").write_text(str((3 << 30) - (9 << 20)))
    assert machine.memory(root).status == "fail"
    (root / "sys/fs/cgroup/box/memory.max").write_text("max")
    assert machine.memory(root) == Check("memory", "ok", "30.5 GiB available")
    assert machine.memory(tmp_path / "nothing").value == "unknown"


@pytest.mark.parametrize(
    ("setting", "status"),
    [
        (None, "ok"),
        ("1", "ok"),
        ("100000", "warn"),
        ("0", "warn"),
        ("four", "warn"),
        ("1,1", "ok"),
        ("", "warn"),
    ],
)
def test_thread_settings_are_weighed(setting, status):
    environment = {} if setting is None else {"OMP_NUM_THREADS": setting}
    found = {finding.name: finding for finding in machine.processors(environment=environment)}
    assert found["OMP_NUM_THREADS"].status == status
    assert "usable" in found["processors"].value


@pytest.mark.parametrize(
    ("cpuinfo", "status", "words"),
    [
        ("processor: 0\nflags\t\t: fpu sse2 avx2 fma\n", "ok", "use float32"),
        ("flags\t: avx2 avx512f avx512_bf16 amx_bf16 amx_tile\n", "ok", "bfloat16 in hardware"),
        ("flags\t: fpu sse2\n", "warn", "none known"),
        ("Features\t: fp asimd bf16\n", "ok", "bfloat16 in hardware"),
        ("", "ok", "none known"),
    ],
)
def test_vector_instructions_are_read_from_the_flags(tmp_path, cpuinfo, status, words):
    finding = machine.processors(tree(tmp_path, {"proc/cpuinfo": cpuinfo}), {})[2]
    assert finding.status == status
    assert words in finding.value


def test_the_cache_folder_follows_the_environment():
    assert machine.cache_folder({"PNEUMOSCAN_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert machine.cache_folder({"XDG_CACHE_HOME": "/b", "HOME": "/c"}) == Path("/b/pneumoscan")
    assert machine.cache_folder({"HOME": "/c"}) == Path("/c/.cache/pneumoscan")


def test_a_folder_that_cannot_be_written_fails_or_warns(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.chdir(tmp_path)
    found = {
        finding.name: finding
        for finding in machine.folders(
            {"PNEUMOSCAN_CACHE": str(file / "cache"), "MPLCONFIGDIR": "/proc/self/x"}
        )
    }
    assert found["cache folder"].status == "fail"
    assert "PNEUMOSCAN_CACHE" in found["cache folder"].remedy
    assert found["matplotlib's folder"].status == "warn"
    assert found["working folder"].status == "ok"
    assert list(tmp_path.iterdir()) == [file]


def test_a_read_only_file_system_is_told(monkeypatch):
    def refuse(**_options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    assert {finding.status for finding in machine.folders()} == {"fail", "warn"}
    assert all("Read-only file system" in finding.value for finding in machine.folders())


@pytest.mark.parametrize(("free", "status"), [(50 << 20, "fail"), (1 << 30, "warn"), (9 << 30, "ok")])
def test_disk_space_is_weighed(monkeypatch, free, status):
    usage = namedtuple("usage", "total used free")(0, 0, free)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _path: usage)
    assert machine.disk_space().status == status


def test_another_encoding_is_told(monkeypatch):
    monkeypatch.setattr(doctor.locale, "getpreferredencoding", lambda do_setlocale=True: "ISO-8859-1")
    assert doctor.encoding().status == "warn"
    assert "PYTHONUTF8=1" in doctor.encoding().remedy
