"""node.toml: what is legal, what is said of what is not, and where secrets may lie."""

import pytest

from pneumoscan.errors import ConfigError
from pneumoscan.node.config import TEMPLATE, load_config, secret
from pneumoscan.node.settings import Config


def load(folder, text):
    (folder / "node.toml").write_text(text, encoding="utf-8")
    return load_config(folder / "node.toml")


def test_an_empty_file_is_shadow_mode_on_the_loopback(tmp_path):
    config = load(tmp_path, "")
    assert config == Config(folder=tmp_path)
    assert (config.node.mode, config.receive.host, config.pacs.url[:17]) == (
        "shadow",
        "127.0.0.1",
        "http://127.0.0.1:",
    )
    assert config.spool == tmp_path / "data" / "spool"
    assert config.name


def test_the_template_is_legal_and_so_are_its_comments(tmp_path):
    assert load(tmp_path, TEMPLATE).node.mode == "shadow"
    lines = [line.removeprefix("# ") for line in TEMPLATE.splitlines()]
    # What stands there as an example must be legal too, once it is taken in.
    text = "\n".join(line for line in lines if line.startswith("[") or " = " in line)
    config = load(tmp_path, text.replace('roles = ["find", "work"]', 'roles = ["find", "receive", "work"]'))
    assert config.receive.allow[0].ae == "XRAY1"
    assert config.pacs.password_file == "pacs-password"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[nod]", "there is no setting nod"),
        ("[node]\nmod = 1", "there is no setting node.mod"),
        ('[node]\nmode = "loud"', "must be one of shadow, live"),
        ("[node]\nworkers = 0", "node.workers is 0. It must be from 1 to 64"),
        ("[node]\nworkers = true", "must be a whole number"),
        ('[find]\nmodalities = "CR"', "find.modalities is no list"),
        ("[find]\nmodalities = []", "find.modalities is empty"),
        ('[find]\nsweep_at = "24:00"', "HH:MM"),
        ("find = 3", "find is no table"),
        ('roles = ["sleep"]', "some of find, receive, work"),
        ("roles = []", "roles are none"),
        ('[pacs]\nurl = "pacs"', "https://host/path"),
        ('[pacs]\nurl = "http://pacs.example/dicom-web"', "without TLS"),
        ('[pacs]\northanc = "http://10.0.0.1:8042"', "without TLS"),
        ('[pacs]\nurl = "https://me:secret@pacs.example"', "holds a login"),
        ('[pacs]\ndicom = "ORTHANC"', "AE@host:port"),
        ('roles = ["receive"]', "receive.allow is empty"),
        ('[watch]\nreference = ["2026-W01"]', "the first and the last week"),
        ('[watch]\nreference = ["2026-W09", "2026-W01"]', "the first and the last week"),
        ('[watch]\nreference = ["January", "March"]', "the first and the last week"),
        ('[watch]\nmetrics_host = "0.0.0.0"', "without TLS"),
        ('[watch]\nmetrics_key = "key.pem"', "go together"),
        ('[[receive.allow]]\nae = "A"\naddress = "here"', "IP address"),
        ('[[receive.allow]]\naddress = "10.0.0.1"', "receive.allow.ae is empty"),
        ('roles = ["receive"]\n[receive]\nhost = "0.0.0.0"\n[[receive.allow]]\nae = "A"\naddress = "10.0.0.1"', "without TLS"),
        ('[receive]\nae_title = "MUCH TOO LONG A NAME"', "1 to 16 characters"),
        ("= 3", "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_illegal_is_named(tmp_path, text, said):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)
    assert "node.toml" in caught.value.message
    assert "secret" not in str(caught.value)


def test_a_file_that_is_absent_is_said_so(tmp_path):
    with pytest.raises(ConfigError, match="node init"):
        load_config(tmp_path / "node.toml")


def test_other_machines_can_be_spoken_to_with_tls_or_when_told(tmp_path):
    load(tmp_path, '[pacs]\nurl = "https://pacs.example/dicom-web"')
    load(tmp_path, '[pacs]\nurl = "http://pacs.example/dicom-web"\nallow_unencrypted = true')
    allow = '[[receive.allow]]\nae = "A"\naddress = "10.0.0.0/8"'
    load(tmp_path, f'roles = ["receive"]\n[receive]\nhost = "0.0.0.0"\ntls_certificate = "c.pem"\n{allow}')


def test_every_number_has_its_limits():
    for name, one, value in Config().settings():
        assert (one.metadata["range"] is not None) == (type(value) in {int, float}), name


def test_a_secret_comes_from_its_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", " from the environment\n")
    assert secret(None, "SECRET") == "from the environment"
    monkeypatch.delenv("SECRET")
    assert secret(None, "SECRET") == ""
    path = tmp_path / "password"
    path.write_text("from the file\n")
    path.chmod(0o600)
    assert secret(path, "SECRET") == "from the file"
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        secret(path, "SECRET")
    assert "from the file" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        secret(tmp_path / "absent", "SECRET")
