"""What grading writes: tables for the instructor, Moodle and Canvas, and a page for each student."""

import csv
import html
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

DETAILS = ("student", "notebook", "check", "points", "of", "note", "look at this")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes a cell that begins so


def safe(value):
    """Return a value for a table; an apostrophe before text that a spreadsheet would take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def write(outcomes: list, out: Path) -> list[Path]:
    """Write everything; return the paths: ``out`` first, the folder with the students' pages last."""
    return [*tables(outcomes, out), *for_systems(outcomes, out), pages(outcomes, out.parent / "feedback")]


def tables(outcomes: list, out: Path) -> list[Path]:
    """Write ``out`` and, beside it, the table with every check, each whole or not at all."""
    names = sorted({outcome.notebook for outcome in outcomes})
    summary, rows = [], []
    for _, mine in _by_student(outcomes):
        look = [f"{outcome.notebook}: {', '.join(outcome.look)}" for outcome in mine if outcome.look]
        row = {"student": mine[0].who.name} | {outcome.notebook: outcome.points for outcome in mine}
        row |= {"total": sum(outcome.points for outcome in mine), "of": sum(outcome.of for outcome in mine)}
        summary.append(row | {"look at this": "; ".join(look)})
        for outcome in mine:
            for number, check in enumerate(outcome.rows):
                about = {"student": outcome.who.name, "notebook": outcome.notebook}
                rows.append(about | check | {"look at this": "" if number else ", ".join(outcome.look)})
    details = out.with_name(f"{out.stem}_details.csv")
    _table(details, rows, DETAILS)
    _table(out, summary, ("student", *names, "total", "of", "look at this"))
    return [out, details]


def for_systems(outcomes: list, out: Path) -> list[Path]:
    """Write tables that Moodle and Canvas import, for the students whose files came from there."""
    written = []
    names = sorted({outcome.notebook for outcome in outcomes})
    moodle = [outcome for outcome in outcomes if outcome.who.source == "moodle"]
    for name in names if moodle else ():
        # Moodle imports one assignment at a time, and asks for these headings.
        rows = [
            {
                "Identifier": f"Participant {outcome.who.number}",
                "Full name": outcome.who.name,
                "Grade": outcome.points,
                "Maximum grade": outcome.of,
                "Last modified (grade)": "",
                "Feedback comments": "\n".join(_comments(outcome)),
            }
            for outcome in moodle
            if outcome.notebook == name
        ]
        written.append(out.with_name(f"{out.stem}_moodle_{name}.csv"))
        _table(written[-1], rows, list(rows[0]), "utf-8")
    canvas = [outcome for outcome in outcomes if outcome.who.source == "canvas"]
    if canvas:
        head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
        full = {outcome.notebook: outcome.of for outcome in canvas}
        rows = [{"Student": "    Points Possible"} | full]
        for _, mine in _by_student(canvas):
            points = {outcome.notebook: outcome.points for outcome in mine}
            rows.append({"Student": mine[0].who.name, "ID": mine[0].who.number} | points)
        written.append(out.with_name(f"{out.stem}_canvas.csv"))
        _table(written[-1], rows, [*head, *names], "utf-8")
    return written


def _by_student(outcomes: list) -> Iterable[tuple[int, list]]:
    found: dict[int, list] = {}
    for outcome in outcomes:
        found.setdefault(id(outcome.who), []).append(outcome)
    return found.items()


def _comments(outcome) -> list[str]:
    return [f"{row['check']}: {row['note']}" for row in outcome.rows if row["note"]]


def _table(path: Path, rows: list[dict], columns: Iterable[str], coding: str = "utf-8-sig") -> None:
    """Write a table, whole or not at all. Excel needs the mark of ``utf-8-sig`` to read names right."""
    beside = path.with_suffix(".part")
    with open(beside, "w", newline="", encoding=coding, errors="replace") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({key: safe(value) for key, value in row.items()} for row in rows)
    os.replace(beside, path)


STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #8886; }
.total { font-size: 1.3rem; }
ul { list-style: none; padding: 0; }
li { border-left: 4px solid #2a8a4a; padding: .1rem .8rem; margin: .6rem 0; }
li.missing { border-color: #c8541e; }
li b { font-family: ui-monospace, monospace; font-weight: 600; }
p { margin: .2rem 0; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .8rem; background: #8882; border-radius: 6px; font-size: .85rem; }
"""


def pages(outcomes: list, folder: Path) -> Path:
    """Write a page for each student into ``folder``: points, what each check said, and the code that ran."""
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for _, mine in _by_student(outcomes):
        name, number = file_name(mine[0].who), 1
        while (unique := name if number == 1 else f"{name} {number}").casefold() in taken:
            number += 1
        taken.add(unique.casefold())
        beside = folder / f"{unique}.part"
        beside.write_text(page(mine), "utf-8", "replace")
        os.replace(beside, folder / f"{unique}.html")
    return folder


def file_name(who) -> str:
    """Return a name for a student's page that every system accepts, and that Moodle takes back in a zip."""
    name = who.name
    if who.source == "moodle":
        name = f"{name}_{who.number}_assignsubmission_file_feedback"
    name = unicodedata.normalize("NFC", re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name)).strip(" .")
    name = name.encode()[:180].decode("utf-8", "ignore") or "student"
    return (
        f"_{name}"
        if re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name) or name[0] == "-"
        else name
    )


def page(outcomes: list) -> str:
    """Return one student's page. All text in it is escaped: it may hold anything."""
    who = html.escape(outcomes[0].who.name)
    total = f"{sum(outcome.points for outcome in outcomes)} of {sum(outcome.of for outcome in outcomes)} points"
    parts = [f"<h1>{who}</h1>", f'<p class="total">{total}</p>']
    for outcome in outcomes:
        parts.append(f"<h2>{html.escape(outcome.notebook)}: {outcome.points} of {outcome.of}</h2>")
        if not outcome.code and len({row["note"] for row in outcome.rows}) == 1:
            parts.append(f"<p>{html.escape(outcome.rows[0]['note'])}</p>")
            continue
        parts.append("<ul>")
        for row in outcome.rows:
            kind, sign = ("", "&#10003;") if row["points"] == row["of"] else (' class="missing"', "&#10007;")
            said = "".join(f"<p>{html.escape(part)}</p>" for part in row["note"].split(" | ") if part)
            parts.append(
                f"<li{kind}>{sign} <b>{html.escape(row['check'])}</b> {row['points']} of {row['of']}{said}</li>"
            )
        parts.append("</ul><details><summary>The code that ran</summary>")
        parts += [f"<pre>{html.escape(step.source)}</pre>" for step in outcome.code]
        parts.append("</details>")
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{who}: {total}</title>'
        '<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; style-src 'unsafe-inline'\"><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )
