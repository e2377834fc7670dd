"""The `node.toml` that `node init` writes: shadow mode, the loopback, every setting that a hospital has to think about."""

TEMPLATE = """\
# A node in shadow mode: it reads the new chest radiographs of the PACS and records what it found; it stores nothing.
# docs/hospital.md tells of every setting, and how to go live. Research use only, not for diagnosis.

roles = ["find", "work"]        # add "receive" to take films by C-STORE as well

[node]
mode = "shadow"                 # "live" stores a report and a picture beside each film
data = "data"                   # queue, files under way, audit; holds patients' data, so only its owner may look into it
workers = 2

[pacs]
url = "http://127.0.0.1:8042/dicom-web"
# orthanc = "http://127.0.0.1:8042"       # follow Orthanc's list of changes instead of asking by date
# user = "pneumoscan"                     # with password_file; or token_file
# password_file = "pacs-password"         # chmod 600
# ca_file = "hospital-ca.pem"

[find]
modalities = ["CR", "DX"]
days = 2                        # today and the day before
every_seconds = 30

# [watch]
# metrics_port = 9464             # answer Prometheus on the loopback
# reference = ["2026-W01", "2026-W08"]

# [receive]
# ae_title = "PNEUMOSCAN"
# host = "127.0.0.1"
# port = 11112
# [[receive.allow]]
# ae = "XRAY1"
# address = "10.1.2.3"
"""
