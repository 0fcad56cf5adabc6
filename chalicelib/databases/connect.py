"""The connection to a server from here, with its address and its login."""

from collections.abc import Callable
from functools import cache

from chalicelib.config.databases import Databases, address
from chalicelib.context import RegionContext
from chalicelib.engine.operation import Rejected
from chalicelib.mysql.connection import DatabaseError, Place
from chalicelib.mysql.secrets import Secrets
from chalicelib.mysql.server import Server, SqlServer
from chalicelib.mysql.status import Look

# Site, region of the server, and whether as the user that may change things.
Reach = Callable[[RegionContext, str, bool], Server]


def settings_of(context: RegionContext) -> Databases:
    """The fleet's settings. Refused if it has none."""
    if context.fleet.databases is None:
        raise Rejected("fleet.toml has no [databases]. Add it, see docs/fleet.md")
    return context.fleet.databases


@cache
def _secrets(region: str) -> Secrets:
    return Secrets(region)


def reach(context: RegionContext, region: str, admin: bool) -> Server:
    """The server of `region` as it is reached from here. Logins come from this region's Secrets Manager, because
    another's may be gone with it."""
    settings = settings_of(context)
    server = settings.server(region)
    name = settings.admin_secret if admin else settings.secret
    if server is None or name is None:
        raise Rejected(f"{region}: fleet.toml has no [[databases.servers]]" if server is None else
                      "fleet.toml has no admin_secret, so this Lambda may change nothing. See docs/databases.md")
    host, port = address(server.remote_address) if server.remote_address and region != context.region else (server.host,
                                                                                                         server.port)
    place = Place(region, host, port, server.tls_name or "")
    return SqlServer(place, settings, lambda denied: _secrets(context.region).login(name, denied), context.root,
                     context.clock)


def look(server: Server) -> Look:
    """The status of the server, or the reason why there is none."""
    try:
        return server.read_status()
    except DatabaseError as error:
        return error.trouble
