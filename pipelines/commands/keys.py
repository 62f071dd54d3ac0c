"""Create, list and revoke the keys by which people and programs use the gateway.

python -m pipelines keys create --tenant shop --role asker --expires 2027-06-30
python -m pipelines keys list
python -m pipelines keys revoke ID

Who uses tokens of the issuer that gateway.oidc names is listed too, and can be revoked; `restore`
takes that back.
"""

import argparse
import datetime

from pipelines.errors import UserError
from pipelines.gateway import database, keys
from pipelines.gateway.keys import Role
from pipelines.system import group_names

NO_TIME = "-"
NO_OWNER = "-"
NO_GROUP = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a key and print it, once")
    create.add_argument("--tenant", required=True, help="whose requests and budget they are")
    create.add_argument(
        "--role",
        choices=[role.value for role in Role],
        default=Role.ASKER.value,
        help="asker: ask and give feedback (default); reviewer: the same; operator: metrics too",
    )
    create.add_argument(
        "--group",
        action="append",
        default=[],
        help="whose documents it reads beside those that everyone may (may be given several times)",
    )
    create.add_argument("--expires", metavar="DATE", help="first day (UTC) on which it is invalid")
    actions.add_parser("list", help="show all keys, without their secrets")
    revoke = actions.add_parser("revoke", help="end a key, or all tokens of an owner, at once")
    revoke.add_argument("id", help="as `keys list` shows it; the part of a key after ak-")
    restore = actions.add_parser("restore", help="admit a revoked owner of tokens again")
    restore.add_argument("id", help="as `keys list` shows it")


def run(arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "create":
            _create(arguments)
        case "list":
            _print_all()
        case "revoke":
            keys.revoke(database.connect(), arguments.id)
            print(f"{arguments.id} is revoked")
        case "restore":
            keys.restore(database.connect(), arguments.id)
            print(f"{arguments.id} is admitted again")
    return 0


def _create(arguments: argparse.Namespace) -> None:
    tenant = arguments.tenant
    role = Role(arguments.role)
    groups = group_names.parse("--group", arguments.group)
    expires = _parse_date(arguments.expires)
    key = keys.create(database.connect(), tenant, role, expires, groups)
    membership = f", groups {', '.join(groups)}" if groups else ""
    print(f"tenant {tenant}, role {role}{membership}. It cannot be shown again:\n{key}")


def _print_all() -> None:
    """Of a token's owner: tenant, role, groups and times of the newest token, and who it is."""
    columns = f"{'id':18}{'tenant':20}{'role':10}{'created':18}{'expires':18}"
    print(f"{columns}{'revoked':18}{'groups':20}owner of tokens")
    engine = database.connect()
    for key in keys.read_all(engine):
        times = [_format_time(moment) for moment in (key.created, key.expires, key.revoked)]
        columns = f"{key.id:18}{key.tenant:20}{key.role:10}{times[0]:18}{times[1]:18}"
        owner = f"{key.subject} of {key.issuer}" if key.subject else NO_OWNER
        groups = ",".join(keys.read_groups(engine, key.id)) or NO_GROUP
        print(f"{columns}{times[2]:18}{groups:20}{owner}")


def _parse_date(text: str | None) -> float | None:
    """Seconds since 1970 at the beginning of a day (UTC). Raises UserError."""
    if text is None:
        return None
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"--expires {text!r} is not a date such as 2027-06-30") from error
    midnight = datetime.datetime.combine(day, datetime.time(), datetime.UTC)
    return midnight.timestamp()


def _format_time(seconds: float | None) -> str:
    if seconds is None:
        return NO_TIME
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M}"
