"""The influence study on paper: Markdown tables and a tornado figure."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from agents.influence import NOTICEABLE_PERCENT, Influence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN: Final = 60


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; bars inside cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def signed(value: float) -> str:
    """Return a change with its sign: two figures after the point below 10, none from 100 on."""
    return f"{value:+.2f}" if abs(value) < 10.0 else f"{value:+.1f}" if abs(value) < 100.0 else f"{value:+.0f}"


def verdict(frame: pd.DataFrame) -> list[str]:
    """Return, for each row of ``Influence.largest``, how it is treated; simplified ones over 1 % are flagged."""
    return [
        f"**{treatment}, over 1 %**" if noticeable and treatment == "simplified" else str(treatment)
        for treatment, noticeable in zip(frame["treatment"], frame["is_noticeable"], strict=True)
    ]


def largest_table(study: Influence, limit: int | None = None) -> str:
    """Return a row per variation for the policy it moves most, largest first; all of them without a limit."""
    frame = study.largest()
    frame = frame if limit is None else frame.head(limit)
    header = (
        "variation",
        "change",
        "source",
        "treatment",
        "moves most",
        "total, % (95 % interval)",
        "bill, %",
        "bad minutes, points",
        "launches a day",
        "tau (interval)",
        "best policy",
    )
    rows = []
    for row, treatment in zip(frame.to_dict("records"), verdict(frame), strict=True):
        against = "" if row["against"] == "baseline" else f"; against {row['against']}"
        was = "" if row["best"] == row["best_before"] else f", was {row['best_before']}"
        rows.append(
            (
                row["variation"],
                f"{row['what']}{against}",
                row["source"],
                treatment,
                row["policy"],
                _with_interval(row, "total_percent", "total"),
                _with_interval(row, "bill_percent", "bill"),
                _with_interval(row, "bad_points", "bad"),
                signed(row["launches_per_day"]),
                f"{row['tau']:.2f} ({row['tau_low']:.2f} to {row['tau_high']:.2f})",
                f"{row['best']}{was}",
            )
        )
    return markdown_table(header, rows)


def _with_interval(row: Mapping[Hashable, Any], key: str, name: str) -> str:
    return f"{signed(row[key])} ({signed(row[f'{name}_low'])} to {signed(row[f'{name}_high'])})"


def policy_table(study: Influence, column: str = "total_percent") -> str:
    """Return one column of the study, a row per variation and a column per policy, in the order of the table above."""
    frame = study.frame()
    wide = frame.pivot(index="variation", columns="policy", values=column)[list(study.baseline)]
    wide = wide.loc[study.largest()["variation"]]
    return markdown_table(
        ("variation", *wide.columns),
        [(str(name), *(signed(float(value)) for value in row)) for name, row in wide.T.items()],
    )


def baseline_table(study: Influence) -> str:
    """Return what every policy does in the baseline."""
    header = ("policy", "total over reference", "bill over reference", "bad minutes, %", "launches a day")
    rows = [
        (
            name,
            f"{item['total_over_reference']:.4f}",
            f"{item['bill_over_reference']:.4f}",
            f"{item['bad_minutes_percent']:.2f}",
            f"{item['launches_per_day']:.1f}",
        )
        for name, item in study.baseline.items()
    ]
    return markdown_table(header, rows)


def influence_page(study: Influence) -> str:
    """Return the study as Markdown: how it was made, the baseline, and the tables."""
    over = study.to_model()
    named = "; ".join(over) if over else "none"
    return "\n\n".join(
        [
            f"Each policy played {study.worlds} worlds of {study.world_days} days, once as they are and once for each "
            "variation; the same worlds and the same luck. Policies are those calibrated for the baseline and were not "
            "calibrated again. Totals are bill before refunds and penalty, over the baseline's reference cost, every "
            "world counting the same; intervals resample worlds in pairs. What moves the total of any policy by more "
            f"than {NOTICEABLE_PERCENT:g} % has to be modelled, not simplified.",
            f"Simplified and over {NOTICEABLE_PERCENT:g} %: {named}.",
            "### Baseline",
            baseline_table(study),
            "### Largest change of the total of any policy",
            largest_table(study),
            "### Change of the total by policy, %",
            policy_table(study),
            "### Change of bad minutes by policy, percentage points",
            policy_table(study, "bad_points"),
        ]
    )


def tornado(study: Influence) -> "Figure":
    """Return the figure of the study: each variation's change of the total of each policy, largest on top."""
    from matplotlib.figure import Figure

    frame, order = study.frame(), study.largest().head(_SHOWN)
    drawn = Figure(figsize=(10, 0.22 * len(order) + 1.5), layout="constrained")
    axes = drawn.subplots()
    places = {name: -place for place, name in enumerate(order["variation"])}
    shown = frame[frame["variation"].isin(places)]
    height: Callable[[str], int] = places.__getitem__
    spans = shown.groupby("variation", sort=False)["total_percent"].agg(["min", "max"])
    axes.hlines([height(str(name)) for name in spans.index], spans["min"], spans["max"], color="0.75", linewidth=4)
    for name in study.baseline:
        own = shown[shown["policy"] == name]
        axes.plot(own["total_percent"], own["variation"].map(places), "o", markersize=3.5, label=name)
    axes.axvspan(-NOTICEABLE_PERCENT, NOTICEABLE_PERCENT, color="0.93", zorder=0)
    axes.set_xscale("symlog", linthresh=NOTICEABLE_PERCENT)
    ticks = np.array([-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100, 300, 1000])
    axes.set_xticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks], fontsize=7)
    axes.set_yticks(list(places.values()), list(places), fontsize=7)
    for label, treatment in zip(axes.get_yticklabels(), order["treatment"], strict=True):
        label.set_color("tab:red" if treatment == "simplified" else "black")
    axes.set_ylim(-len(order) + 0.3, 0.7)
    axes.set_xlabel("change of bill and penalty, % (red: simplified; grey: within 1 %)")
    axes.legend(fontsize=7, loc="lower right")
    return drawn
