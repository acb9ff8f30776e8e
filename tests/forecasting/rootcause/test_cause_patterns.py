import json

import numpy as np
import pytest

from forecasting.rootcause.evidence import EVIDENCE
from forecasting.rootcause.patterns import LIBRARY, load_library
from forecasting.rootcause.signals import EVIDENCE as SIGNAL_EVIDENCE
from simulators.anomalies import KINDS
from simulators.service_graph import FAULTS

SCOPES = {"graph": EVIDENCE, "service": SIGNAL_EVIDENCE}


def test_the_library_knows_every_kind_of_fault_and_anomaly() -> None:
    assert set(load_library("graph").kinds) == set(FAULTS)
    assert set(load_library("service").kinds) == set(KINDS)
    for kind in KINDS:
        assert load_library("service").pattern(kind).cause == KINDS[kind].cause


@pytest.mark.parametrize("scope", SCOPES)
def test_every_pattern_speaks_of_known_evidence_and_says_what_to_do(scope) -> None:
    library = load_library(scope)
    for pattern in library.patterns:
        assert set(pattern.fingerprint) <= set(SCOPES[scope])
        assert pattern.actions
        assert pattern.source


@pytest.mark.parametrize("scope", SCOPES)
def test_each_pattern_fits_its_own_fingerprint_best(scope) -> None:
    library, names = load_library(scope), SCOPES[scope]
    size = {"up": 3.0, "down": -3.0, "same": 0.0}
    for at, pattern in enumerate(library.patterns):
        row = np.full((1, len(names)), np.nan)
        for name, direction in pattern.fingerprint.items():
            row[0, names.index(name)] = size[direction] * library.thresholds[name]
        fits = library.fit(row, names)[0]
        assert fits.argmax() == at
        assert fits[at] > -0.1


def test_unknown_evidence_counts_as_a_coin() -> None:
    library = load_library("graph")
    fits = library.fit(np.full((2, len(EVIDENCE)), np.nan), EVIDENCE)
    np.testing.assert_allclose(fits, np.log(0.5))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fingerprint": {"load z": "sideways"}}, "goes"),
        ({"fingerprint": {"moon phase": "up"}}, "threshold"),
        ({"actions": None}, "lacks actions"),
    ],
)
def test_a_library_with_a_mistake_is_refused(tmp_path, change, words: str) -> None:
    content = json.loads(LIBRARY.read_text())
    row = content["graph"]["patterns"][0]
    row |= {name: value for name, value in change.items() if value is not None}
    for name, value in change.items():
        if value is None:
            del row[name]
    path = tmp_path / "patterns.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words):
        load_library("graph", path)


def test_an_unknown_pattern_or_scope_is_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="flood"):
        load_library("graph").pattern("flood")
    path = tmp_path / "patterns.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="no scope"):
        load_library("service", path)
