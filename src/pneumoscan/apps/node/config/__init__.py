"""The settings of a node: `tables` names them, `reading` reads and checks `node.toml`, `secrets` finds what must not stand there."""

from pneumoscan.apps.node.config.reading import check_roles, is_loopback, load_config, network
from pneumoscan.apps.node.config.secrets import PASSWORD_VARIABLE, TOKEN_VARIABLE, secret
from pneumoscan.apps.node.config.tables import Config, Find, Node, Pacs, Peer, Receive, Watch, limits

__all__ = [
    "PASSWORD_VARIABLE",
    "TOKEN_VARIABLE",
    "Config",
    "Find",
    "Node",
    "Pacs",
    "Peer",
    "Receive",
    "Watch",
    "check_roles",
    "is_loopback",
    "limits",
    "load_config",
    "network",
    "secret",
]
