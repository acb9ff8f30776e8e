"""The mark that ties a test to a documented AWS behaviour; docs/fidelity.md is generated from these marks."""

import pytest


def fact(*numbers: str) -> pytest.MarkDecorator:
    """Mark a test as the check of the facts with these numbers (docs/facts.yaml)."""
    return pytest.mark.fact(*numbers)
