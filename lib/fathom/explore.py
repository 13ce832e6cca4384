"""Playing with networks in Jupyter: choose, see what it costs, train, and watch the optimum.

`Explorer` keeps choices and rows and knows nothing of Jupyter; `panel` puts widgets around it.
"""

import io
import threading
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import pandas as pd
from ruamel.yaml import YAML

from fathom import draw, law, store
from fathom.spec import FAMILIES, PHIS, RULES, TASKS, Machine, Refused, grid
from fathom.sweeps.plan import estimate, forecast
from fathom.sweeps.sweep import sweep

SIZES = [4, 8, 16, 32, 64]
NAME = "my_net"


class Stopped(Exception):
    """Somebody pressed Stop."""


class Explorer:
    """An experiment as it is being made: `choices`, and the rows that are there so far."""

    def __init__(self, **choices: Any) -> None:
        self.choices, self.rows, self.stop = choices, list[dict[str, Any]](), False

    def entry(self) -> dict[str, Any]:
        """The choices as an entry of params.yaml."""
        said = self.choices
        net = {"family": said["family"], "width": said["width"], "depth": list(said["depths"])}
        net |= {"phi": said["phi"], "center": said["family"] == "resmlp"}
        rates = {"range": [said["first_rate"], said["last_rate"], 0.5]}
        optim = {"kind": said["optimizer"], "log2_lr": rates}
        optim |= {"batch": said["batch"], "steps": said["steps"]}
        base = {"width": said["width"], "depth": min(said["depths"], default=1)}
        seeds = {"range": [1, said["seeds"]]} if said["seeds"] > 1 else 1
        about = {"net": net, "rules": list(said["rules"]), "base": base, "optim": optim}
        return {**about, "task": said["task"], "seed": seeds}

    def yaml(self) -> str:
        """The entry as text to paste into params.yaml, below `sweep:`."""
        text = io.StringIO()
        dump = YAML(typ="safe")
        dump.default_flow_style = None
        dump.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
        dump.dump({NAME: self.entry()}, text)
        return text.getvalue()

    def cost(self) -> str:
        """How many runs the choices make and how long they would take here, from a few measured
        steps; raises Refused where they cannot be trained."""
        runs = grid(self.entry(), "choices")
        return f"{len(runs)} runs, {forecast(estimate(runs, 'train', ONE), ONE)}"

    def train(self, show: Callable[[], None] = lambda: None) -> None:
        """Train the choices, calling `show` whenever a stack of runs is done. What is there is kept
        when `stop` is set, and when the kernel is interrupted."""
        self.rows, self.stop = [], False

        def keep(rows: list[dict[str, Any]]) -> None:
            self.rows += rows
            show()
            if self.stop:
                raise Stopped

        try:
            sweep(grid(self.entry(), "choices"), keep=keep, machine=ONE)
        except (KeyboardInterrupt, Stopped):
            print(f"stopped; {len(self.rows)} runs are there")

    def optima(self) -> pd.DataFrame:
        """The best rate of every parametrization, depth and seed that is there so far."""
        return law.optima(pd.DataFrame(self.rows), ["rules", "depth"])

    def drifts(self) -> dict[str, str]:
        """In words how far the best rate moves when depth doubles, for every parametrization."""
        if len(set(self.choices["depths"])) < 3:
            return dict.fromkeys(self.choices["rules"], "drift: choose three depths or more")
        if self.choices["seeds"] < 2:
            return dict.fromkeys(self.choices["rules"], "drift: an interval needs two seeds")
        found = law.slopes(self.optima(), "rules", along="depth")
        return {name: draw.in_words(drift) for name, drift in found.items()}

    def picture(self) -> draw.Picture:
        """Curves of log loss against the rate, a colour for each depth, with the optima."""
        runs, best = pd.DataFrame(self.rows), self.optima()
        curves = law.bands(runs, ["rules", "depth"])
        figure = draw.transfer(
            curves,
            law.summary(best, ["rules", "depth"]),
            law.slopes(best, "rules", along="depth"),
            columns=[name for name in self.choices["rules"] if name in set(runs["rules"])],
            top=float(curves["log_loss"].min()) + 2,
            loss="mean over all steps",
        )
        return draw.picture(figure, "; ".join(self.drifts().values()))

    def save(self, root: str) -> str:
        """Write the entry as <root>/entry.yaml; returns the place."""
        store.save_text(self.yaml(), f"{root}/entry.yaml")
        return f"{root}/entry.yaml"


ONE = Machine(workers=1)


def controls(choices: dict[str, Any]) -> dict[str, Any]:
    """A widget for each choice, by its name."""
    many = {"rules": RULES, "depths": SIZES}
    one = {"family": FAMILIES, "phi": PHIS, "task": TASKS, "optimizer": ("adam", "sgd")}
    one |= {"width": (16, 32, 64, 128, 256)}
    numbers = {"seeds": (1, 10), "steps": (1, 2000), "batch": (16, 256)}
    rates = {"first_rate": (-20, 0), "last_rate": (-20, 2)}
    made: dict[str, Any] = {}
    for name, value in choices.items():
        said = name.replace("_", " ").replace("rate", "log2 rate")
        if name in many:
            made[name] = widgets.SelectMultiple(
                options=many[name], value=tuple(value), description=said, rows=5
            )
        elif name in one:
            made[name] = widgets.Dropdown(options=one[name], value=value, description=said)
        elif name in numbers:
            low, high = numbers[name]
            made[name] = widgets.BoundedIntText(value=value, min=low, max=high, description=said)
        else:
            low, high = rates[name]
            made[name] = widgets.BoundedFloatText(
                value=value, min=low, max=high, step=0.5, description=said
            )
    return made


def panel(explorer: Explorer, root: str) -> widgets.Widget:
    """The widgets: choices, what they would cost, Train, Stop and Write, a bar, the curves."""
    made = controls(explorer.choices)
    words, picture, text = widgets.HTML(), widgets.HTML(), widgets.Textarea(rows=12)
    bar = widgets.IntProgress(description="trained")
    names = ("What does it take?", "Train", "Stop", "Write the entry")
    plan, train, stop, write = (widgets.Button(description=name) for name in names)

    def asked(act: Callable[[], str]) -> None:
        """Show what an act answers, or in red the sentence by which it is refused."""
        try:
            words.value = act()
        except Refused as error:
            words.value = f"<span style='color:#b00'>{error}</span>"

    def chosen(_: object = None) -> None:
        explorer.choices = {name: one.value for name, one in made.items()}
        asked(lambda: f"{len(grid(explorer.entry(), 'choices'))} runs")

    def show() -> None:
        bar.value = len(explorer.rows)
        picture.value = explorer.picture().svg
        words.value = "<br>".join(f"{rule}: {one}" for rule, one in explorer.drifts().items())

    def run() -> str:
        bar.max = len(grid(explorer.entry(), "choices"))
        explorer.train(show)
        return f"{words.value}<br>{len(explorer.rows)} of {bar.max} runs are there"

    def start(_: object) -> None:
        threading.Thread(target=asked, args=(run,), daemon=True).start()

    def halt(_: object) -> None:
        explorer.stop = True

    def saved() -> str:
        text.value = explorer.yaml()
        return f"written to {explorer.save(root)}; paste it into params.yaml below sweep:"

    for one in made.values():
        one.observe(chosen, "value")
    plan.on_click(lambda _: asked(explorer.cost))
    train.on_click(start)
    stop.on_click(halt)
    write.on_click(lambda _: asked(saved))
    if explorer.rows:
        bar.max = len(explorer.rows)
        show()
    left = widgets.VBox([*made.values()])
    right = widgets.VBox([widgets.HBox([plan, train, stop, write]), bar, words, picture, text])
    return widgets.HBox([left, right])
