"""Price levels of AWS Regions relative to us-east-1, and the catalogue of another Region.

A guide, not a price list: on-demand ratios are medians over 36 to 88 types of 2017 (AWS price list, as kept by
vantage-sh/ec2instances.info), and families differ; for the one type known in 2025 eu-central-1 was 1.40 rather than
1.19. Spot savings are medians over all Linux types of the Spot Instance Advisor feed of 2025-06-28.
"""

from dataclasses import dataclass, replace
from typing import Final

from simulators.catalogue import Catalogue

HOME_REGION: Final = "us-east-1"
MAX_SPOT_SAVING: Final = 0.95


@dataclass(frozen=True)
class Region:
    """Price level of one Region.

    Attributes:
        on_demand_ratio: On-demand price relative to us-east-1, median over types.
        spot_saving: Spot saving on the Region's on-demand price, 0..1, median over types.
    """

    on_demand_ratio: float
    spot_saving: float


REGIONS: Final[dict[str, Region]] = {
    "us-east-1": Region(1.00, 0.66),
    "us-east-2": Region(1.00, 0.66),
    "us-west-1": Region(1.13, 0.70),
    "us-west-2": Region(1.00, 0.65),
    "ca-central-1": Region(1.10, 0.64),
    "eu-west-1": Region(1.10, 0.55),
    "eu-west-2": Region(1.16, 0.63),
    "eu-central-1": Region(1.19, 0.67),
    "ap-south-1": Region(1.14, 0.68),
    "ap-southeast-1": Region(1.25, 0.66),
    "ap-southeast-2": Region(1.26, 0.69),
    "ap-northeast-1": Region(1.27, 0.66),
    "ap-northeast-2": Region(1.20, 0.68),
    "sa-east-1": Region(1.59, 0.73),
}


def in_region(catalogue: Catalogue, region: str) -> Catalogue:
    """Return a us-east-1 catalogue at the price level of another Region.

    List prices are scaled by the Region's ratio. Spot savings move by the difference of the Regions' medians, in
    points, and stay in 0..0.95. Interruption bands are kept.

    Raises:
        ValueError: The Region is unknown; the message names the known ones.
    """
    if region not in REGIONS:
        raise ValueError(f"unknown Region {region!r}; known: {', '.join(REGIONS)}")
    there, home = REGIONS[region], REGIONS[HOME_REGION]
    shift = there.spot_saving - home.spot_saving
    types = tuple(
        replace(
            item,
            price_usd_per_hour=item.price_usd_per_hour * there.on_demand_ratio,
            spot_saving=min(max(item.spot_saving + shift, 0.0), MAX_SPOT_SAVING),
        )
        for item in catalogue.types
    )
    return Catalogue(types, catalogue.candidates)
