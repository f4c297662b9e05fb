"""The two plots that appear in more than one notebook."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

# Okabe and Ito's colors: they stay apart for colour-blind readers.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#5b6270"


def plot_training(
    log: pd.DataFrame,
    columns: Mapping[str, str],
    *,
    ylabel: str = "RMSE (stars)",
    baselines: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw numbers of a training against the epoch (from notebook 04 on).

    Args:
        log: one row an epoch, as ``training.fit`` and ``training_log`` return it.
        columns: which columns to draw, and the label of each.
        ylabel: the label, with its unit, of the vertical axis.
        baselines: horizontal lines to compare with: label -> value.
        ax: where to draw; a new figure when None.

    Raises:
        ValueError: when a column is not in the log.
    """
    missing = [column for column in columns if column not in log.columns]
    if missing:
        raise ValueError(f"The log has no column {missing[0]!r}. It has: {', '.join(log.columns)}.")
    ax = ax or plt.subplots(figsize=(7, 4))[1]
    for (column, label), color in zip(columns.items(), (BLUE, ORANGE, GREEN), strict=False):
        ax.plot(log.index, log[column], label=label, color=color, marker="o", markersize=3)
    for (label, value), style in zip((baselines or {}).items(), ("--", ":", "-."), strict=False):
        ax.axhline(value, label=f"{label} ({value:.3f})", color=GREY, linestyle=style)
    ax.set(xlabel="epoch", ylabel=ylabel)
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def plot_rmse(scores: Mapping[str, float], *, highlight: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw test RMSEs as dots, in the order given, each with its number (from notebook 01 on).

    The axis does not begin at 0: RMSEs of different models lie close together, and bars from 0 would all look
    the same. Dots claim no length, so a cut axis tells no lie.

    Args:
        scores: model name -> RMSE in stars.
        highlight: the name of one dot to draw in another color.
        ax: where to draw; a new figure when None.

    Raises:
        ValueError: when there is no score, or the highlighted name is not among them.
    """
    if not scores:
        raise ValueError("scores is empty: give at least one model and its RMSE.")
    if highlight is not None and highlight not in scores:
        raise ValueError(f"highlight={highlight!r} is not among the scores: {', '.join(scores)}.")
    names, values = list(scores), list(scores.values())
    ax = ax or plt.subplots(figsize=(7, 0.45 * len(names) + 1))[1]
    ax.scatter(values, names, color=[ORANGE if name == highlight else BLUE for name in names], s=60, zorder=2)
    for name, value in scores.items():
        ax.annotate(f"{value:.3f}", (value, name), xytext=(8, 0), textcoords="offset points", va="center")
    room = 0.05 + max(values) - min(values)
    ax.set_xlim(min(values) - 0.1 * room, max(values) + 0.25 * room)  # to the right, the last number needs room
    ax.margins(y=0.1 if len(names) > 1 else 0.5)
    ax.invert_yaxis()
    ax.grid(axis="y", alpha=0.3)
    ax.set_xlabel("test RMSE (stars), lower is better; the axis does not begin at 0")
    return ax
