"""``python -m benchmarks [--short] [--json] [name …]``."""

import argparse
import json
import platform
import sqlite3
import sys

from attrs import asdict

from benchmarks import admissions, full_path, hostile, imports, outbox, send_cpu
from benchmarks.measuring import Row

CLAIMS = {
    claim.__name__: claim for module in (admissions, outbox, full_path, send_cpu, imports, hostile) for claim in module.CLAIMS
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CLAIMS)}; all, if none is given")
    parser.add_argument("--short", action="store_true", help="only to see that they run; the figures mean nothing")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    options = parser.parse_args()
    if unknown := set(options.names) - set(CLAIMS):
        parser.error(f"no such claim: {', '.join(sorted(unknown))}; there are: {', '.join(CLAIMS)}")
    rows: list[Row] = []
    for name in options.names or CLAIMS:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += CLAIMS[name](options.short)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}: medians, and medians of each round's ratios")
    claim = ""
    for row in rows:
        if row.claim != claim:
            claim = row.claim
            print(f"\n{claim}")
        ratio = "" if row.of_floor is None else f"{row.of_floor:8.2f} of the floor"
        print(f"  {row.what:<52} {row.us:>12,.1f} µs {ratio:<22} {row.goal and 'goal ' + row.goal} {row.note}".rstrip())


main()
