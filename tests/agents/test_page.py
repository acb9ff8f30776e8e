"""``report.html``: self-contained, complete, escaped, and whole where keys are missing."""

import copy
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_example import BEST, LEARNED, PATTERN, POLICIES, TRACES, contract_content, example_days, full_content

from agents.evaluation.day import DAYS_FILE, write_days
from agents.evaluation.page import headline_cards, write_page
from agents.evaluation.page_tables import interval, policy_table, trace_table
from agents.evaluation.plots import draw_plots
from envs.settings import TaskSettings

VOID = {"meta", "link", "img", "input", "br"}


class Outline(HTMLParser):
    """Every element with its attributes, the text of each, and whether tags nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page")
    draw_plots(full_content(), out)
    write_days(example_days(), TaskSettings(), out)
    return write_page(full_content(), out).read_text()


def sections(outline: Outline) -> list[str | None]:
    return [attributes["id"] for attributes in outline.all("section")]


def test_nothing_is_asked_of_anyone(full: str) -> None:
    outline = Outline(full)
    for _, attributes in outline.elements:
        for key in ("src", "href", "srcset", "data", "poster", "action"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), value
    assert "url(" not in full
    assert "@import" not in full
    addresses = set(re.findall(r"https?://[^\s\"']+", full))
    assert addresses == {"http://www.w3.org/2000/svg"}
    policy = next(item["content"] for item in outline.all("meta") if item.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_section_stands_and_can_be_reached(full: str) -> None:
    outline = Outline(full)
    assert outline.open == []
    found = sections(outline)
    assert found == [
        "policies",
        "seeds",
        "front",
        "savings",
        "traces",
        "day",
        "shift",
        "cadence",
        "perfect",
        "planner",
        "checks",
        "calibration",
        "limits",
    ]
    links = [item["href"] for item in outline.all("a")]
    assert links[1:] == [f"#{name}" for name in found]


def test_the_page_can_be_read_without_eyes(full: str) -> None:
    outline = Outline(full)
    assert outline.all("html")[0]["lang"] == "en"
    assert len(outline.all("h1")) == 1
    assert all(item["alt"] for item in outline.all("img"))
    assert len(outline.all("img")) == 5
    assert all(item.get("scope") in ("col", "row") for item in outline.all("th"))
    assert len(outline.all("caption")) == len(outline.all("table")) > 10
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_says_what_the_report_says(full: str) -> None:
    content, text = full_content(), Outline(full).text
    assert content["first_line"] in text
    assert "+19.7 % 95 % interval +12.1 to +27.2 %" in text
    assert "+26.3 % 95 % interval +18.2 to +33.1 %" in text
    assert "cheaper on 4 of 5 traces" in text
    for name, (_, total, bad) in POLICIES.items():
        assert re.search(rf"{re.escape(name)} .*?{total:.4f} .*?{100 * bad:.2f} %", text), name
    for trace in TRACES:
        assert f"Every figure on {trace}; reference cost {content['reference'][trace]:.2f} USD." in text
    assert "forecast-lean costs 0.2460 of reference with its own forecasts and 0.2190 with perfect ones" in text
    assert "300 trials on 24 training worlds" in text
    assert "nothing was checked against a live account" in text
    assert "Partial report" not in text


def test_names_are_escaped_everywhere(tmp_path: Path, task: TaskSettings) -> None:
    content = contract_content()
    evil = "</script><img src=x onerror=alert(1)>"
    content["kind"][evil], content["policies"][evil] = "rule", content["policies"][BEST]
    content["calibration"][evil] = evil
    days = {evil: {evil: example_days()[PATTERN][BEST]}}
    write_days(days, task, tmp_path)
    page = write_page(content | {"first_line": evil}, tmp_path).read_text()
    assert evil not in page
    assert Outline(page).open == []
    assert all(item["src"] != "x" for item in Outline(page).all("img"))


def test_the_contract_alone_makes_a_page(tmp_path: Path) -> None:
    page = Outline(write_page(contract_content(), tmp_path).read_text())
    assert sections(page) == ["policies", "traces", "calibration", "limits"]
    assert "The best rule is forecast-lean." in page.text
    assert "+19.7 %" in page.text
    assert "The 25 cheapest of 60 constant actions" in page.text


def test_every_optional_key_may_be_missing(tmp_path: Path) -> None:
    content = full_content()
    needed = {"best_rule", "reference", "policies", "kind", "trace_kind"}
    for key in set(content) - needed:
        rest = {name: value for name, value in content.items() if name != key}
        assert Outline(write_page(rest, tmp_path).read_text()).open == [], key
    bare = Outline(write_page({key: content[key] for key in needed}, tmp_path).read_text())
    assert sections(bare) == ["policies", "traces", "limits"]


def test_without_what_is_needed_there_is_no_page(tmp_path: Path) -> None:
    content = contract_content()
    del content["policies"], content["kind"]
    with pytest.raises(ValueError, match=r"report\.json lacks policies, kind; expected the content of a comparison"):
        write_page(content, tmp_path)
    (tmp_path / DAYS_FILE).write_text("{")
    with pytest.raises(ValueError, match=r"days\.json: not JSON"):
        write_page(contract_content(), tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_partial_report_is_marked(tmp_path: Path) -> None:
    page = Outline(write_page(full_content() | {"partial": True}, tmp_path).read_text())
    assert "Partial report: the comparison was interrupted" in page.text
    assert "FleetGym: comparison (partial)" in page.text


def test_findings_of_the_judge_are_shown(tmp_path: Path) -> None:
    page = Outline(write_page(full_content() | {"findings": ["total is not bill plus penalty"]}, tmp_path).read_text())
    assert "Findings: something in this report contradicts itself. total is not bill plus penalty" in page.text
    assert "found anything" in Outline(write_page(full_content(), tmp_path).read_text()).text


def test_without_a_learned_policy_there_is_no_empty_column(tmp_path: Path) -> None:
    content = {key: value for key, value in full_content().items() if "gap" not in key and "bill_at" not in key}
    content["learned"] = None
    content["per_trace"] = {
        trace: {**row, "learned": None, "gap_closed": None} for trace, row in content["per_trace"].items()
    }
    table = trace_table(content)
    assert list(table.head) == [
        "trace",
        "kind",
        "best rule",
        "AWS's cheapest",
        "clairvoyant bound",
        "infeasible minutes",
    ]
    assert {len(row) for row in table.rows} == {6}
    assert [card["title"] for card in headline_cards(content)] == ["Best rule", "Clairvoyant bound"]
    assert Outline(write_page(content, tmp_path).read_text()).open == []


def test_a_policy_played_on_some_traces_only_is_no_error(tmp_path: Path) -> None:
    content = copy.deepcopy(contract_content())
    content["policies"]["planner"] = {PATTERN: content["policies"][BEST][PATTERN]}
    content["kind"]["planner"] = "planner"
    table = policy_table(content)
    assert "planner" not in [row[0].text for row in table.rows]
    assert Outline(write_page(content, tmp_path).read_text()).open == []


def test_undefined_figures_are_called_so(tmp_path: Path) -> None:
    content = full_content()
    content["bill_at_equal_bad_minutes"] = {"vs": BEST, "value": None, "ci95": [None, None]}
    card = headline_cards(content)[1]
    assert (card["figure"], card["interval"]) == ("undefined", "")
    assert "at no setting of its front" in card["note"]
    assert interval({"value": None}).text == ""
    assert interval({"value": 0.5, "ci95": [None, None]}).text == "0.500"
    assert interval({"value": 0.5, "ci95": [0.25, 0.75]}).text == "0.500 (0.250 to 0.750)"


def test_tables_made_from_the_contract_agree_with_those_of_the_report() -> None:
    """Rows that are worked out from the figures by trace, against means by hand."""
    content = contract_content()
    rows = {row[0].text: row for row in policy_table(content).rows}
    reference = content["reference"]
    for name in POLICIES:
        by_trace = content["policies"][name]
        total = sum(by_trace[trace]["total_usd"] / reference[trace] for trace in TRACES) / len(TRACES)
        assert rows[name][2].value == pytest.approx(total)
        assert rows[name][3].value == pytest.approx(0.93 * total)
        assert rows[name][5].value == pytest.approx(0.01)
    assert rows["clairvoyant bound"][2].value == pytest.approx(
        sum(content["bound"][trace] / reference[trace] for trace in TRACES) / len(TRACES)
    )
    cheapest_aws = {row[0].text: row for row in trace_table(content).rows}
    for trace in TRACES:
        expected = content["policies"]["mixed-group"][trace]["total_usd"] / reference[trace]
        assert cheapest_aws[trace][3].value == pytest.approx(expected)
    totals = [row[2].value for row in policy_table(content).rows if row[1].text != "bound"]
    assert totals == sorted(totals)
    assert policy_table(content).marked == {LEARNED, BEST}
