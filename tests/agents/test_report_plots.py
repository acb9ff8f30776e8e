"""Pictures of a comparison, from the content of its report."""

import copy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_example import BEST, LEARNED, PATTERN, TRACES, contract_content, full_content

from agents.evaluation.plots import (
    PLOTS,
    bound_over_reference,
    counted_traces,
    draw_plots,
    pareto_front,
    point,
    trace_groups,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plots")
    draw_plots(full_content(), out)
    return out


def test_the_front_is_what_nothing_dominates() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        points = [(float(x), float(y)) for x, y in rng.integers(0, 12, (25, 2))]
        by_hand = {
            item
            for item in points
            if not any(other[0] <= item[0] and other[1] <= item[1] and other != item for other in points)
        }
        front = pareto_front(points)
        assert set(front) == by_hand
        assert len(front) == len(by_hand)
        assert front == sorted(front)


def test_points_are_means_over_traces() -> None:
    content = contract_content()
    rows = content["policies"][LEARNED]
    traces = ["worldcup98_1min", PATTERN]
    found = point(content, LEARNED, traces)
    assert found is not None
    assert found[0] == pytest.approx(50 * sum(rows[trace]["bad_minutes_fraction"] for trace in traces))
    bills = [rows[trace]["infra_usd"] / content["reference"][trace] for trace in traces]
    assert found[1] == pytest.approx(sum(bills) / 2)
    del content["policies"][LEARNED][PATTERN]
    assert point(content, LEARNED, traces) is None
    assert point(content, LEARNED, traces[:1]) is not None


def test_traces_apart_count_for_no_overall_figure() -> None:
    content = full_content() | {"apart": [PATTERN]}
    assert counted_traces(content) == [trace for trace in TRACES if trace != PATTERN]
    everything, without = (bound_over_reference(content, traces) for traces in (list(TRACES), counted_traces(content)))
    assert everything is not None
    assert without is not None
    assert without < everything
    del content["bound"][PATTERN]
    assert bound_over_reference(content, list(TRACES)) is None
    assert trace_groups(content)["pattern"] == [PATTERN]
    assert trace_groups(contract_content()) == {
        kind: [trace for trace, own in TRACES.items() if own == kind] for kind in ("requests", "other")
    }


def test_every_picture_is_drawn_and_readable_at_800_pixels(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == set(PLOTS)
    for path in folder.iterdir():
        with Image.open(path) as picture:
            assert picture.width == 800, path.name
            assert np.array(picture.convert("L")).std() > 5


def test_the_contract_alone_gives_the_pareto_plot(tmp_path: Path) -> None:
    assert draw_plots(contract_content(), tmp_path) == [tmp_path / "cost_against_bad_minutes.png"]
    assert draw_plots(full_content() | {"shift": {}, "waterfall": None}, tmp_path) == [
        tmp_path / name for name in PLOTS if name not in ("shift.png", "savings_waterfall.png")
    ]


def test_the_same_content_gives_the_same_bits(folder: Path, tmp_path: Path) -> None:
    draw_plots(full_content(), tmp_path)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", list(PLOTS))
def test_another_figure_gives_another_picture(folder: Path, tmp_path: Path, name: str) -> None:
    content = copy.deepcopy(full_content())
    for trace in TRACES:
        content["policies"][LEARNED][trace]["infra_usd"] *= 1.1
        content["per_trace"][trace]["learned"] *= 1.1
    content["waterfall"]["over_reference"] |= {"size": 0.002, "total": 0.008}
    content["cadence"][LEARNED]["1 h"]["total"] *= 1.1
    content["shift"]["as tested"]["policies"][BEST]["total"] *= 1.1
    PLOTS[name][1](content, tmp_path / name)
    assert (folder / name).read_bytes() != (tmp_path / name).read_bytes()


def test_missing_roles_and_bounds_are_left_out(tmp_path: Path) -> None:
    content = copy.deepcopy(full_content())
    content |= {"learned": None, "bound": {}, "tight_bound": {}, "front": {}, "adherence": {}}
    for row in content["per_trace"].values():
        row |= {"learned": None, "aws": None, "bound": None, "gap_closed": None}
    for item in content["shift"].values():
        item |= {"bound": None, "gap_closed": None}
    assert len(draw_plots(content, tmp_path)) == len(PLOTS)
