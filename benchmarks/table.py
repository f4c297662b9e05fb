"""The published tables, made from the CSV files: ``python -m benchmarks table`` prints them."""

import json
from pathlib import Path

import pandas as pd

from . import ours, peers
from .backends import backends_table
from .driver import HERE, read_rows


def knows(name: str) -> str:
    """Return what a model learns from; "ratings" for one that was not run."""
    known = {**ours.MODELS, **peers.MODELS}
    return known[name].knows if name in known else "ratings"


def results_table(folder: Path = HERE) -> str:
    """Return the models as a Markdown table, best RMSE first; what did not run comes last, with its reason.

    RMSE and seconds are means over the seeds; the spread is the standard deviation where there are several.
    """
    rows = pd.read_csv(folder / "results.csv")
    lines = [
        "| model | library | knows | test RMSE | fit (s) | to 0.93 (s) | to 0.90 (s) | predictions/s "
        "| memory (MB) |",
        "| --- " * 9 + "|",
    ]
    scored = rows[rows["status"] == "ok"].groupby("name")
    for name in scored["test_rmse"].mean().sort_values().index:
        group = scored.get_group(name)
        mean = group.mean(numeric_only=True)
        spread = f" ± {group['test_rmse'].std():.4f}" if len(group) > 1 else ""
        times = [f"{mean[key]:.3g}" for key in ("fit_seconds", "seconds_to_093", "seconds_to_090")]
        times = ["–" if time == "nan" else time for time in times]
        speed = f"{round(mean['predictions_per_second'], -3):,.0f}"
        lines.append(
            f"| {group['setting'].iloc[0]} | {group['family'].iloc[0]} | {knows(name)} | "
            f"{mean['test_rmse']:.4f}{spread} | "
            f"{' | '.join(times)} | {speed} | {mean['peak_mb']:.0f} |"
        )
    for _, row in rows[rows["status"] != "ok"].iterrows():
        what = f"{row['name']} | {row['family']} | {knows(row['name'])} | {row['status']}: {row['error']}"
        lines.append(f"| {what} | | | | | |")
    return "\n".join(lines)


def splits_table(folder: Path = HERE) -> str:
    """Return ten random splits, the five folds and the last ten ratings of each user, as a Markdown table."""
    lines = [
        "| model | knows | ten random splits | u1 | u2 | u3 | u4 | u5 | mean of u1..u5 | last ten |",
        "| --- " * 10 + "|",
    ]
    scores = {}
    for kind in ("splits", "folds"):
        if (folder / f"{kind}.csv").exists():
            for row in pd.read_csv(folder / f"{kind}.csv", dtype={"split": str}).itertuples():
                scores.setdefault(row.name, {})[kind, row.split] = row.test_rmse
    for name, score in scores.items():
        mean, sd = (score.get(("splits", part), float("nan")) for part in ("mean", "sd"))
        cells = [f"{score.get(('folds', part), float('nan')):.4f}" for part in (*"12345", "mean", "last ten")]
        line = f"| {name} | {knows(name)} | {mean:.4f} ± {sd:.4f} | {' | '.join(cells)} |"
        lines.append(line.replace("nan ± nan", "–").replace("nan", "–"))
    return "\n".join(lines)


def lists_table(folder: Path = HERE) -> str:
    """Return lists.csv as a Markdown table, best NDCG first; what failed comes last, with its reason.

    Figures are means over the seeds; the spread is the standard deviation where there are several.
    """
    rows = pd.read_csv(folder / "lists.csv", dtype={"tuned_over": str})
    lines = [
        "| model | library | knows | settings tried | NDCG@10 | recall@10 | fit (s) | memory (MB) |",
        "| --- " * 8 + "|",
    ]
    scored = rows[rows["status"] == "ok"].groupby("name")
    for name in scored["ndcg_10"].mean().sort_values(ascending=False).index:
        group, first = scored.get_group(name), scored.get_group(name).iloc[0]
        mean = group.mean(numeric_only=True)
        chosen = ", ".join(f"{key}={value}" for key, value in json.loads(first["chosen"]).items())
        spread = f" ± {group['ndcg_10'].std():.4f}" if len(group) > 1 else ""
        what = f"{first['setting']}: {chosen}" if chosen else first["setting"]
        figures = f"{mean['ndcg_10']:.4f}{spread} | {mean['recall_10']:.4f} | {mean['fit_seconds']:.3g}"
        lines.append(
            f"| {what} | {first['family']} | {first['knows']} | {first['tuned_over']} | "
            f"{figures} | {mean['peak_mb']:.0f} |"
        )
    for _, row in rows[rows["status"] != "ok"].iterrows():
        what = f"{row['setting']} | {row['family']} | {row['knows']}"
        lines.append(f"| {what} | {row['status']}: {row['error']} | | | | |")
    return "\n".join(lines)


def scale_table(folder: Path = HERE) -> str:
    """Return scale.csv as a Markdown table: a row for each setting, its figures in one cell."""
    settings: dict[tuple[str, str], list[str]] = {}
    for row in read_rows(folder / "scale.csv"):
        figure = f"{row['measure']} {_short(float(row['value']))}" if row["status"] == "ok" else row["error"]
        settings.setdefault((row["part"], row["setting"]), []).append(figure)
    rows = [f"| {part} | {setting} | {' · '.join(found)} |" for (part, setting), found in settings.items()]
    return "\n".join(["| part | setting | measured |", "| --- | --- | --- |", *rows])


def _short(value: float) -> str:
    """Return a figure with about four digits: 1,328,552 -> 1,329,000; 0.90731 -> 0.9073."""
    return f"{float(f'{value:.4g}'):,.0f}" if value >= 1000 else f"{value:.4g}"


def all_tables(folder: Path = HERE) -> str:
    """Return the tables of a folder's CSV files, each below the name of the document that shows it.

    What was not measured has no table.
    """
    tables = []
    if (folder / "results.csv").exists():
        tables += ["README.md, models:", results_table(folder)]
    if any((folder / f"{kind}.csv").exists() for kind in ("splits", "folds")):
        tables += ["README.md, splits and folds:", splits_table(folder)]
    if (folder / "lists.csv").exists():
        tables += ["benchmarks/README.md, lists:", lists_table(folder)]
    if (folder / "backends.csv").exists():
        tables += ["README.md, backends:", backends_table(folder)]
    if (folder / "scale.csv").exists():
        tables += ["benchmarks/README.md, scale:", scale_table(folder)]
    return "\n\n".join(tables or [f"There are no results in {folder}: run `python -m benchmarks all` first."])
