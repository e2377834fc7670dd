"""What is delivered beside the package: container files whose sources exist, the citation, and the list of packages for a device."""

import fnmatch
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from pneumoscan import __version__
from pneumoscan.node.config import load_config

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(
    not (ROOT / "Dockerfile").is_file(), reason="the tests are outside of a checkout"
)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def instructions():
    """The instructions of the Dockerfile, lines that go on joined."""
    lines = [line for line in read("Dockerfile").splitlines() if line and not line.startswith("#")]
    return [line.split(maxsplit=1) for line in "\n".join(lines).replace("\\\n", " ").splitlines()]


def test_everything_that_the_image_copies_exists_and_goes_into_the_build():
    rules = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    sources = [
        word
        for name, words in instructions()
        if name == "COPY" and "--from" not in words
        for word in words.split()[:-1]
    ]
    assert {"src", "pyproject.toml", "constraints.txt"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in let_in), source
    # What the build itself reads: the files that pyproject.toml names.
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert {project["readme"], *project["license-files"]} <= set(sources)


def test_the_image_installs_extras_that_exist_and_runs_as_a_user_without_rights():
    told = dict(instructions())
    project = tomllib.loads(read("pyproject.toml"))["project"]
    command = next(words for name, words in instructions() if name == "RUN" and "pip" in words)
    extras = set(re.search(r'"\.\[(.+?)\]"', command)[1].split(","))
    assert extras <= project["optional-dependencies"].keys()
    assert "-c constraints.txt" in command
    assert told["USER"] not in {"root", "0"}
    python = re.search(r"python:(\d+)\.(\d+)", told["FROM"])
    assert (int(python[1]), int(python[2])) >= (3, 11)


def test_what_is_mounted_exists_and_the_node_beside_orthanc_is_in_shadow_mode():
    services = yaml.safe_load(read("compose.yaml"))["services"]
    mounted = [
        place.split(":")[0]
        for service in services.values()
        for place in service["volumes"]
        if place[0] == "."
    ]
    assert len(mounted) == 2
    assert all((ROOT / place).is_file() for place in mounted)
    assert all(port.startswith("127.0.0.1:") for port in services["orthanc"]["ports"])
    config = load_config(ROOT / "docker" / "node.toml")
    assert config.node.mode == "shadow"
    assert config.data == Path("/node/data")
    assert "orthanc" in services
    assert config.pacs.url.startswith("http://orthanc:8042/")
    orthanc = yaml.safe_load(read("docker/orthanc.json"))
    assert orthanc["DicomWeb"]["Root"].strip("/") == config.pacs.url.rpartition("/")[2]


def test_the_citation_names_this_version_and_licence():
    told = yaml.safe_load(read("CITATION.cff"))
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert (str(told["version"]), told["license"]) == (__version__, project["license"])
    assert [author["name"] for author in told["authors"]] == [one["name"] for one in project["authors"]]
    assert {"cff-version", "message", "title", "type"} <= told.keys()


@pytest.fixture(scope="module")
def write_soup():
    spec = importlib.util.spec_from_file_location("write_soup", DOCS / "write_soup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def component(name, **more):
    return {"bom-ref": f"{name}==1", "name": name, "version": "1.0", **more}


def test_the_list_of_packages_is_made_of_the_bill(write_soup):
    known = [component(name, licenses=[{"license": {"id": "MIT"}}]) for name in write_soup.PURPOSES]
    bill = {
        "metadata": {"component": {"name": "pneumoscan"}},
        "components": [
            component(
                "zlib-of-someone", licenses=[{"license": {"name": "License :: OSI Approved :: BSD License"}}]
            ),
            component("lonely"),
            component("pneumoscan"),
            *known,
        ],
        "dependencies": [{"ref": "numpy==1", "dependsOn": ["zlib-of-someone==1"]}],
    }
    rows = write_soup.rows(bill)
    assert len(rows) == len(known) + 2
    assert rows[0] == "| click | 1.0 | MIT | the command line |"
    assert rows[-2:] == [
        "| lonely | 1.0 | not told | needed by no package |",
        "| zlib-of-someone | 1.0 | BSD License | needed by numpy |",
    ]
    bill["components"] = bill["components"][:-1]
    with pytest.raises(ValueError, match="uvicorn"):
        write_soup.rows(bill)


def test_every_package_that_we_name_is_in_the_list_with_its_purpose(write_soup):
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    named = [
        *project["dependencies"],
        *(one for extra in ("node", "dicom", "pdf", "web") for one in extras[extra]),
    ]
    names = {re.match(r"[\w.-]+", one)[0].lower() for one in named if not one.startswith("pneumoscan")}
    assert names == write_soup.PURPOSES.keys()
    listed = re.findall(r"^\| (\S+) \| \d", read("docs/device.md"), re.MULTILINE)
    assert names <= {name.lower().replace("_", "-") for name in listed}


def test_every_test_that_shows_something_about_a_hazard_exists():
    for path, _, test in re.findall(r"`(tests/[\w/]+\.py)(::(\w+))?`", read("docs/device.md")):
        assert (ROOT / path).is_file(), path
        assert not test or f"def {test}(" in read(path), test
