"""Runs the benchmarks: all, or those that are named.

python -m tools.bench [NAME ...]        # names are the modules of this package
"""

import argparse
import importlib
import pkgutil
import sys

import tools.bench

# Modules that are no benchmarks.
_NONE = ("__main__", "measure", "photos")


def main() -> None:
    names = sorted(module.name for module in pkgutil.iter_modules(tools.bench.__path__) if module.name not in _NONE)
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {', '.join(names)}; all by default")
    chosen = parser.parse_args().names or names
    unknown = [name for name in chosen if name not in names]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(names)}")
    for name in chosen:
        print(f"\n== {name}", flush=True)
        sys.argv[1:] = []
        importlib.import_module(f"tools.bench.{name}").main()


if __name__ == "__main__":
    main()
