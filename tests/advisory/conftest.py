from pathlib import Path

import pytest
from advisory_requests import Client
from bundle_making import untrained_bundle
from fastapi import FastAPI

from advisory.app import create_app
from advisory.served import ServedModel, serve_bundle
from agents.rules import Rule, RuleBook
from envs.settings import DEFAULT_MENU, TaskSettings, WorldSource
from envs.worlds import make_bank
from simulators.bank import Bank
from simulators.menu import ScalingPolicy

SOURCE = WorldSource(patterns=("diurnal", "bursty"), days=1, scenarios_per_source=1, markets=2)


@pytest.fixture(scope="session")
def rules() -> RuleBook:
    """Uncalibrated rules; one of them scales in at once."""
    menu = (*DEFAULT_MENU, ScalingPolicy(name="forecast-at-once", kind="forecast", hold_minutes=0, spot_margin=0.3))
    return RuleBook(
        rules=tuple(
            Rule(policy=policy, candidate=0 if policy.kind == "manual" else 1, spot_percent=50) for policy in menu
        )
    )


@pytest.fixture(scope="session")
def task(rules: RuleBook) -> TaskSettings:
    return rules.task(TaskSettings())


@pytest.fixture(scope="session")
def bank(task: TaskSettings) -> Bank:
    return make_bank(SOURCE, task)


@pytest.fixture(scope="session")
def bundle_path(rules: RuleBook, task: TaskSettings, bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle of an untrained policy that starts from the rule ``forecast``."""
    return untrained_bundle(rules, "forecast", task, bank, tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture(scope="session")
def model(bundle_path: Path) -> ServedModel:
    return serve_bundle(bundle_path)


@pytest.fixture(scope="session")
def app(bundle_path: Path) -> FastAPI:
    return create_app(bundle_path)


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Client:
    return Client(app)
