"""The model card of a bundle: what it was trained on, how, how well it did, and what it cannot do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOURCES = {
    "worldcup98_1min": (
        "HTTP requests to the France 98 World Cup site (Arlitt & Jin 1998)",
        "logs (C) 1997-1999 Hewlett-Packard Company, freely usable with their notice (see NOTICE)",
    ),
    "tweets_AAPL_2015_5min": ("tweets naming AAPL (Numenta Anomaly Benchmark)", "MIT"),
    "isp_traffic_eu_2005_5min": ("traffic of a European ISP (Cortez et al. 2012)", "MIT; public data set"),
    "azure_vm_total_cpu_2017_5min": ("CPU of Azure VMs, 2017 public trace (Cortez et al. 2017)", "CC BY 4.0"),
    "surf_lisa_jobs_2022_5min": ("jobs on the SURF Lisa cluster, 2022", "CC BY 4.0"),
}


def _stem(name: str) -> str:
    return Path(name).stem if name.endswith(".json") else name


def _start(advisor: str | None) -> str:
    return "from noise" if advisor is None else f"from the calibrated rule {advisor}, whose action it is shown"


def _mean(runs: int) -> str:
    return "" if runs == 1 else f" This policy is the mean of the {runs}, logit by logit."


def model_card(settings: dict[str, Any], calibration: dict[str, str], validations: Mapping[int, dict[str, Any]]) -> str:
    """Return ``card.md`` of a run's policy, or of the mean of several runs' policies.

    Args:
        settings: The configuration as plain data.
        calibration: One sentence per rule.
        validations: Content of each run's ``validation.json``, by seed; the first is the one training goes on from.
    """
    source, ppo, validation = settings["env"]["source"], settings["ppo"], next(iter(validations.values()))
    best = {
        seed: min(item["history"], key=lambda point: point["total_over_reference"])
        for seed, item in validations.items()
    }
    lines = [
        "# Model card",
        "",
        "A policy that runs one EC2 fleet behind an Application Load Balancer: size, launch specification, spot share",
        "and scaling policy, every "
        f"{settings['env']['task']['decision_minutes']} minutes, from telemetry that an account can see.",
        "",
        "## Data",
        "",
        "| source | what | licence |",
        "| --- | --- | --- |",
    ]
    for name in map(_stem, source["models"]):
        what, licence = SOURCES.get(name, ("a workload model of this name", "of its trace"))
        lines.append(f"| workload model fitted to {name} (first 70 %) | {what} | {licence} |")
    patterns = dict.fromkeys(source["patterns"] or ["the patterns of the training split"])
    lines.append(f"| named patterns: {', '.join(patterns)} | generated | none |")
    for name in validation["replayed"]:
        what, licence = SOURCES.get(name, ("a trace of this name", "of its publisher"))
        lines.append(f"| {name}, replayed (its training part) | {what} | {licence} |")
    lines += [
        "",
        "## Training",
        "",
        f"PPO (stable-baselines3), {ppo['n_timesteps']:,} decisions, seed {', '.join(map(str, best))}, "
        f"{_start(validation['advisor'])}. The snapshot that is best on validation worlds was kept (after "
        f"{', '.join(format(item['timesteps'], ',') for item in best.values())} decisions).{_mean(len(best))}",
        "",
        "## Validation",
        "",
        "Total cost (bill before refunds, and penalty) over the cost of on-demand m6i.large at 60 % utilisation, on",
        "worlds of the validation split:",
        "",
        "| policy | total over reference |",
        "| --- | --- |",
    ]
    lines += [
        f"| {'this policy' if len(best) == 1 else f'seed {seed}'} ({100 * item['bad_fraction']:.2f} % bad minutes) | "
        f"{item['total_over_reference']:.4f} |"
        for seed, item in best.items()
    ]
    lines += [f"| {name} | {value:.4f} |" for name, value in sorted(validation["rules"].items(), key=lambda i: i[1])]
    lines += ["", "## Rules", ""]
    lines += [f"- {name}: {sentence}" for name, sentence in calibration.items()]
    lines += [
        "",
        "## Limits",
        "",
        "- Trained and tested in a simulator built on AWS's documents and public measurements; nothing was checked",
        "  against a live account.",
        "- One service whose requests need CPU above all, in one Region; Savings Plans and burstable types were not",
        "  trained on.",
        "- Worlds unlike the ones above (see the report of your own trace) may cost more than the rule it began with.",
    ]
    return "\n".join(lines) + "\n"
