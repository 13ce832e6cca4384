"""python bench: the speed of the trainer against what a user would write.

Prints two tables as markdown and writes them to artifacts/bench/. Takes about 20
minutes; the machine should have nothing else to do.
"""

import argparse

import costs
import pandas as pd
import report
import steps
import sweeps
from fathom import store


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """The table with three significant digits, more than a clock can vouch for."""
    found = table.copy()
    for name in found.select_dtypes("float").columns:
        found[name] = found[name].map(lambda number: float(f"{number:.3g}"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser("python bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="about half a minute, to build/: whether it runs"
    )
    parser.add_argument(
        "--families", action="store_true", help="a step of the other families only, 10 minutes"
    )
    parser.add_argument("--steps", action="store_true", help="the first table only, 5 minutes")
    parser.add_argument("--costs", action="store_true", help="what every entry takes only")
    said = parser.parse_args()
    quick, root = said.quick, "build/quick" if said.quick else "artifacts"
    others = ("families", lambda quick: steps.measure(quick, steps.families(quick)), report.steps)
    both = (("step", steps.measure, report.steps), ("sweep", sweeps.measure, report.sweeps))
    takes = ("costs", costs.measure, report.costs)
    chosen = (others,) if said.families else (takes,) if said.costs else both
    for name, part, show in both[:1] if said.steps else chosen:
        table = part(quick)
        print(f"\n{show(table)}\n", flush=True)
        store.write(rounded(table), f"bench/{name}", root)
    print(report.machine() + " Quick: the numbers mean nothing." * quick)


if __name__ == "__main__":
    main()
