"""Print the table of README.md from results.csv, splits.csv and folds.csv: ``python benchmarks/table.py``."""

from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent


def results_table(folder: Path = HERE) -> str:
    """Return the models as a Markdown table, best RMSE first; what did not run comes last, with its reason.

    RMSE and seconds are means over the seeds; the spread is the standard deviation where there are several.
    """
    rows = pd.read_csv(folder / "results.csv")
    lines = [
        "| model | library | test RMSE | fit (s) | to 0.93 (s) | to 0.90 (s) | predictions/s | memory (MB) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
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
            f"| {group['setting'].iloc[0]} | {group['family'].iloc[0]} | {mean['test_rmse']:.4f}{spread} | "
            f"{' | '.join(times)} | {speed} | {mean['peak_mb']:.0f} |"
        )
    for _, row in rows[rows["status"] != "ok"].iterrows():
        lines.append(f"| {row['name']} | {row['family']} | {row['status']}: {row['error']} | | | | | |")
    return "\n".join(lines)


def splits_table(folder: Path = HERE) -> str:
    """Return mean and standard deviation over ten random splits, and the five folds, as a Markdown table."""
    lines = ["| model | ten random splits | u1 | u2 | u3 | u4 | u5 | mean of u1..u5 |", "| --- " * 8 + "|"]
    scores = {}
    for kind in ("splits", "folds"):
        if (folder / f"{kind}.csv").exists():
            for row in pd.read_csv(folder / f"{kind}.csv", dtype={"split": str}).itertuples():
                scores.setdefault(row.name, {})[kind, row.split] = row.test_rmse
    for name, score in scores.items():
        mean, sd = (score.get(("splits", part), float("nan")) for part in ("mean", "sd"))
        cells = [f"{score.get(('folds', part), float('nan')):.4f}" for part in (*"12345", "mean")]
        line = f"| {name} | {mean:.4f} ± {sd:.4f} | {' | '.join(cells)} |"
        lines.append(line.replace("nan ± nan", "–").replace("nan", "–"))
    return "\n".join(lines)


if __name__ == "__main__":
    print(results_table(), splits_table(), sep="\n\n")
