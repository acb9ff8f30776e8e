"""The documented behaviours of docs/facts.yaml joined with the tests that carry their marks, as tables."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

BEGIN = "<!-- facts:begin -->"
END = "<!-- facts:end -->"
Marks = dict[str, list[str]]
"""Names of the tests that carry a fact's mark, by the number of the fact."""

Sentence = Annotated[str, Field(min_length=4, max_length=200)]
Confidence = Literal["V", "D", "R", "U"]
TREATMENTS = ("modelled", "simplified", "left out")
MEANING = {
    "V": "verified in a primary source: an AWS guide, API model or price list, a specification, or a textbook",
    "D": "derived or measured from primary data",
    "R": "reported by a third party",
    "U": "unverified: an assumption that stays a setting",
}


class Fact(BaseModel):
    """One documented behaviour and, unless a test checks it, what stands in its place.

    Attributes:
        id: Number, for example ``TT-04`` or ``PM-06b``.
        section: Heading of its table.
        claim: What the source says, in our own words.
        confidence: How sure the source is, as in ``MEANING``.
        source: Public name of the page, model, data set or paper.
        treatment: Absent for a fact that tests check.
        how: What the simplification does instead.
        why: Why the fact is left out.
        cost: What is lost by it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Z]{1,2}-\d{2}[a-z]?$")
    section: Sentence
    claim: str = Field(min_length=10, max_length=160)
    confidence: Confidence
    source: Sentence
    treatment: Literal["simplified", "left out"] | None = None
    how: Sentence | None = None
    why: Sentence | None = None
    cost: Sentence | None = None

    @model_validator(mode="after")
    def _says_what_its_treatment_needs(self) -> "Fact":
        needed = {None: set(), "simplified": {"how", "cost"}, "left out": {"why", "cost"}}[self.treatment]
        given = {key for key in ("how", "why", "cost") if getattr(self, key) is not None}
        if given != needed:
            expected = " and ".join(sorted(needed)) or "neither how, why nor cost"
            raise ValueError(f"{self.id}: treatment {self.treatment!r} expects {expected}, got {sorted(given)}")
        return self


def load_facts(path: Path) -> dict[str, Fact]:
    """Read the registry of documented behaviours.

    Args:
        path: docs/facts.yaml.

    Returns:
        Facts by number, in the order of the file.

    Raises:
        ValueError: The file is absent or malformed, a number occurs twice, or a section is torn apart.
    """
    if not path.exists():
        raise ValueError(f"{path} not found: the mark fact(...) needs the registry of documented behaviours")
    rows = yaml.safe_load(path.read_text())
    try:
        facts = TypeAdapter(list[Fact]).validate_python(rows)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"][0] if first["loc"] else None
        name = rows[place].get("id", place) if isinstance(place, int) and isinstance(rows[place], dict) else place
        key = ".".join(map(str, first["loc"][1:])) or "fact"
        raise ValueError(f"{path}: fact {name}, {key}: {first['msg']}, got {first['input']!r}") from error
    for kind, names in (("number", [fact.id for fact in facts]), ("section", _runs(fact.section for fact in facts))):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"{path}: {kind} {twice[0]!r} occurs twice; expected once")
    return {fact.id: fact for fact in facts}


def contradictions(facts: dict[str, Fact], marks: Marks) -> list[str]:
    """Return one line for each mark whose fact is unknown or said to be left out."""
    lines = []
    for number, tests in marks.items():
        if number not in facts:
            lines += [f"{test} is marked with fact {number}, which docs/facts.yaml does not have" for test in tests]
        elif facts[number].treatment == "left out":
            lines += [f"{test} checks fact {number}, which docs/facts.yaml says is left out" for test in tests]
    return lines


def pending(facts: dict[str, Fact], marks: Marks) -> list[Fact]:
    """Return the facts that no test checks and that have no treatment either."""
    return [fact for fact in facts.values() if fact.treatment is None and fact.id not in marks]


def tables(facts: dict[str, Fact], marks: Marks) -> str:
    """Return the generated part of the page: how many facts are modelled, then every fact by section."""
    shown = [fact for fact in facts.values() if fact.treatment or fact.id in marks]
    parts = [_counts(shown)]
    for section in dict.fromkeys(fact.section for fact in shown):
        lines = [
            f"### {section}",
            "",
            "| fact | what is documented | confidence | treatment | source |",
            "| --- | --- | --- | --- | --- |",
        ]
        for fact in (fact for fact in shown if fact.section == section):
            cells = (fact.id, _cell(fact.claim), fact.confidence, _treatment(fact, marks), _cell(fact.source))
            lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def generated_part(text: str) -> str:
    """Return what stands between the two marker comments of a page.

    Raises:
        ValueError: The page does not hold each marker once, in order.
    """
    return _split(text)[1]


def write_page(path: Path, part: str) -> None:
    """Replace the generated part of a page and keep the rest; a page that does not exist is begun.

    Raises:
        ValueError: The page exists without its two markers.
    """
    text = path.read_text() if path.exists() else f"# Fidelity\n\n{BEGIN}\n{END}\n"
    try:
        before, _, after = _split(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    temporary = path.with_suffix(".partial")
    temporary.write_text(f"{before}{BEGIN}\n\n{part}\n\n{END}{after}")
    temporary.replace(path)


def _split(text: str) -> tuple[str, str, str]:
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"expected {BEGIN} once and {END} once after it")
    before, _, rest = text.partition(BEGIN)
    part, _, after = rest.partition(END)
    return before, part.strip(), after


def _runs(names: Iterable[str]) -> list[str]:
    runs: list[str] = []
    for name in names:
        if not runs or runs[-1] != name:
            runs.append(name)
    return runs


def _counts(facts: list[Fact]) -> str:
    kinds = get_args(Confidence)
    count: Counter[tuple[str, str]] = Counter((fact.treatment or "modelled", fact.confidence) for fact in facts)
    lines = [f"| | {' | '.join(kinds)} | all |", "| --- " * (len(kinds) + 2) + "|"]
    for treatment in TREATMENTS:
        row = [count[treatment, kind] for kind in kinds]
        lines.append(f"| {treatment} | {' | '.join(map(str, row))} | {sum(row)} |")
    meanings = "\n".join(f"- {kind}: {MEANING[kind]}." for kind in kinds)
    return "\n".join(lines) + f"\n\n{meanings}"


def _treatment(fact: Fact, marks: Marks) -> str:
    links = "<br>".join(f"[`{test}`](../{test.partition('::')[0]})" for test in marks.get(fact.id, []))
    if fact.treatment is None:
        return f"modelled: {links}"
    words = f"{fact.treatment}: {fact.how or fact.why} Cost: {fact.cost}"
    return _cell(words) + (f"<br>checked: {links}" if links else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
