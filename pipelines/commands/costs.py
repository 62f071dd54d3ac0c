"""Show what tenants, keys or releases have cost in a month, by the gateway's records.

python -m pipelines costs                          this month, by tenant
python -m pipelines costs --month 2027-01 --by key --csv january.csv
python -m pipelines costs --by release --page data/reports/costs.html
"""

import argparse
import csv as csv_format
import datetime
import re
from pathlib import Path

from pipelines import files, pages
from pipelines.errors import UserError
from pipelines.gateway import costs, database
from pipelines.gateway.costs import Bill

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--month", help="such as 2027-01, in UTC; without it, this month")
    parser.add_argument("--by", choices=list(costs.GROUPS), default="tenant")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write an HTML page there too")


def run(month: str | None, by: str, csv: Path | None = None, page: Path | None = None) -> None:
    month = month or f"{datetime.datetime.now(datetime.UTC):%Y-%m}"
    if not MONTH.fullmatch(month):
        raise UserError(f"--month {month!r} is not a month such as 2027-01")
    bills = costs.bills(database.connect(), month, by)
    _print_table(month, by, bills)
    if csv is not None:
        _write_csv(csv, by, bills)
    if page is not None:
        total = sum(bill.cost for bill in bills)
        text = pages.render("costs.html.j2", month=month, group=by, bills=bills, total=total)
        files.write_text(page, text)


def _print_table(month: str, by: str, bills: list[Bill]) -> None:
    print(f"{month}, in the currency of serve.prices\n")
    print(f"{by:32}{'requests':>10}{'answers':>10}{'read':>12}{'written':>12}{'cost':>16}")
    for bill in bills:
        counts = f"{bill.num_requests:>10}{bill.num_answers:>10}"
        tokens = f"{bill.num_prompt_tokens:>12}{bill.num_new_tokens:>12}"
        print(f"{bill.name:32}{counts}{tokens}{bill.cost:>16.6f}")
    print(f"\n{'together':76}{sum(bill.cost for bill in bills):>16.6f}")


def _write_csv(path: Path, by: str, bills: list[Bill]) -> None:
    with files.replacing(path) as target, target.open("w", newline="", encoding="utf-8") as file:
        writer = csv_format.writer(file)
        writer.writerow([by, *Bill._fields[1:]])
        writer.writerows(bills)
