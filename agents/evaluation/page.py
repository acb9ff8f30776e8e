"""``report.html``: the whole comparison as one file that asks for nothing else."""

import base64
import json
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from agents.evaluation import page_tables as tables
from agents.evaluation.day import DAY_GIF, DAYS_FILE
from agents.evaluation.plots import PLOTS, bound_over_reference, counted_traces
from telemetry.provenance import write_text

Json = dict[str, Any]
PAGE_FILE: Final = "report.html"
_REQUIRED: Final = ("best_rule", "reference", "policies", "kind", "trace_kind")


def write_page(content: Json, out: Path) -> Path:
    """Write ``report.html`` from the content of ``report.json`` and the pictures and days that lie in the folder.

    Args:
        content: Of ``report.json``; keys beyond the first ones are optional, and so is every picture.
        out: Folder of the report.

    Raises:
        ValueError: A key without which there is no comparison is missing, or ``days.json`` is no JSON.
    """
    missing = [key for key in _REQUIRED if key not in content]
    if missing:
        raise ValueError(f"{out}: report.json lacks {', '.join(missing)}; expected the content of a comparison")
    path = out / PAGE_FILE
    write_text(path, render_page(content, pictures_of(out), _days_of(out)))
    return path


def pictures_of(out: Path) -> dict[str, str]:
    """Return the known pictures of a report's folder as data URIs, by file name."""
    found = {}
    for name in (*PLOTS, DAY_GIF):
        path = out / name
        if path.exists():
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            found[name] = f"data:image/{path.suffix[1:]};base64,{data}"
    return found


def _days_of(out: Path) -> Json | None:
    path = out / DAYS_FILE
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def render_page(content: Json, pictures: dict[str, str], days: Json | None) -> str:
    """Return the page.

    Args:
        content: Of ``report.json``.
        pictures: Data URIs by file name.
        days: What ``days.json`` holds; None for a page without the viewer.
    """
    environment = Environment(
        loader=PackageLoader("agents.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment.get_template("report.html").render(**_context(content), pictures=pictures, days=days)


def _context(content: Json) -> Json:
    def given(key: str) -> Any:
        return content.get(key) or None

    shift, cadence, adherence, planner = given("shift"), given("cadence"), given("adherence"), given("planner")
    kinds = given("by_kind") if len(content.get("by_kind") or ()) > 1 else None
    bad_share = "total over reference (bad minutes)"
    return {
        "content": content,
        "first_line": content.get("first_line") or f"The best rule is {content['best_rule']}.",
        "partial": bool(content.get("partial")),
        "cards": headline_cards(content),
        "policies": tables.policy_table(content),
        "seeds": given("seeds_table") and tables.seeds_table(content),
        "over_seeds": given("gap_closed_over_seeds") and tables.interval(content["gap_closed_over_seeds"]).text,
        "constants": tables.constant_table(content),
        "traces": tables.trace_table(content),
        "kinds": kinds and tables.summaries_table(f"By kind of demand: {bad_share}.", kinds),
        "details": tables.detail_tables(content),
        "waterfall": given("waterfall") and tables.waterfall_table(content),
        "shift": shift and tables.summaries_table(f"In other worlds: {bad_share}.", shift),
        "cadence": cadence and tables.cells_table(f"By the time between decisions: {bad_share}.", cadence),
        "adherence": adherence
        and tables.cells_table(f"By how much of the advice is followed: {bad_share}.", adherence),
        "perfect": given("perfect_forecasts"),
        "planner": planner and tables.summaries_table(str(planner.get("windows", "")), {"its own windows": planner}),
        "calibration": given("calibration") or {},
        "validation": given("validation_total_over_reference") or {},
        "one_action": given("one_action") or {},
        "apart": given("apart") or [],
        "findings": content.get("findings"),
    }


def headline_cards(content: Json) -> list[dict[str, str]]:
    """Return the headline figures: title, figure, and what it means with its interval."""
    cards = []
    gap, equal = content.get("gap_closed"), content.get("bill_at_equal_bad_minutes")
    if gap:
        note = f"of the way from {gap['vs']} to the clairvoyant bound; cheaper on {gap['wins']} of {gap['of']} traces"
        cards.append(_estimate_card("Gap closed", gap, note))
    if equal:
        note = f"against {equal['vs']} re-tuned to no more bad minutes"
        if equal["value"] is None:
            note = f"{equal['vs']} reaches no more bad minutes at no setting of its front"
        cards.append(_estimate_card("Bill saved at no more bad minutes", equal, note))
    by_name = {row["name"]: row for row in tables.main_rows(content)}
    for title, name in (("Learned policy", content.get("learned")), ("Best rule", content["best_rule"])):
        if name in by_name:
            row = by_name[name]
            note = f"{name}: total over reference cost, {100 * row['bad_minutes_fraction']:.2f} % bad minutes"
            cards.append({"title": title, "figure": f"{row['total']:.4f}", "interval": "", "note": note})
    bound = bound_over_reference(content, counted_traces(content))
    if bound is not None:
        note = "total over reference cost with perfect foresight and no boot time; no policy can be cheaper"
        cards.append({"title": "Clairvoyant bound", "figure": f"{bound:.4f}", "interval": "", "note": note})
    return cards


def _estimate_card(title: str, item: Json, note: str) -> dict[str, str]:
    if item["value"] is None:
        return {"title": title, "figure": "undefined", "interval": "", "note": note}
    low, high = item["ci95"]
    interval = "" if None in (low, high) else f"95 % interval {100 * low:+.1f} to {100 * high:+.1f} %"
    return {"title": title, "figure": f"{100 * item['value']:+.1f} %", "interval": interval, "note": note}
