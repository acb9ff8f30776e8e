"""Numbers of instance types: what a family is, what each size costs and carries, how burstable types earn credits.

us-east-1, Linux, shared tenancy. Prices are on demand as of 2026-07-20 (AWS price list, as regenerated in
aws/karpenter-provider-aws). Architecture, threads per core, clock, baseline network and EBS bandwidth and generation
are those of ``DescribeInstanceTypes`` (data shipped with getmoto/moto, 2026). CoreMark per vCPU is the median of the
family's types, measured 2025-12-10 to 2026-07-01 by ec2instances.info, in runs too short for CPU credits to run out.
Spot saving and interruption band are those of the Spot Instance Advisor feed of 2025-06-28; families younger than the
feed borrow them from the same size of the family in ``SPOT_BORROWED_FROM``. Flex families promise less than a whole
vCPU for ever; that is not in these numbers.
"""

from typing import Final, NamedTuple

_X86, _ARM = "x86_64", "arm64"

VCPU_OF_SIZE: Final = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16}


class Family(NamedTuple):
    """What all sizes of a family share.

    Attributes:
        architecture: ``x86_64`` or ``arm64``.
        threads_per_core: vCPUs on one physical core, 1 or 2.
        gib_per_vcpu: Main memory per vCPU, GiB.
        clock_ghz: Sustained clock.
        coremark_per_vcpu: CoreMark iterations per second and vCPU, all vCPUs busy.
        is_current: Listed by EC2 as current generation.
    """

    architecture: str
    threads_per_core: int
    gib_per_vcpu: int
    clock_ghz: float
    coremark_per_vcpu: float
    is_current: bool


class Offer(NamedTuple):
    """What one type costs and carries.

    Attributes:
        name: API name.
        price_usd_per_hour: On-demand list price.
        network_gbps: Baseline network bandwidth, Gbit/s.
        ebs_mbps: Baseline EBS bandwidth, Mbit/s.
        spot_saving: Average spot saving on the on-demand price, 0..1.
        interruption_band: Spot Advisor band of monthly interruptions, 0..4.
    """

    name: str
    price_usd_per_hour: float
    network_gbps: float
    ebs_mbps: float
    spot_saving: float
    interruption_band: int


class Burst(NamedTuple):
    """How a burstable size earns CPU credits; a credit is one vCPU-minute at full speed.

    Attributes:
        vcpu: Virtual CPUs, count.
        credits_per_hour: Credits earned in an hour.
        max_credits: Credits kept at most, 24 hours of earning.
        baseline: Share of each vCPU the earned credits sustain, 0..1.
    """

    vcpu: int
    credits_per_hour: float
    max_credits: float
    baseline: float


FAMILIES: Final[dict[str, Family]] = {
    "m5": Family(_X86, 2, 4, 3.1, 14_320, False),
    "m5a": Family(_X86, 2, 4, 2.5, 13_016, True),
    "m6a": Family(_X86, 2, 4, 3.6, 20_431, True),
    "m6g": Family(_ARM, 1, 4, 2.5, 19_364, True),
    "m6i": Family(_X86, 2, 4, 3.5, 17_020, False),
    "m7a": Family(_X86, 1, 4, 3.7, 32_316, True),
    "m7g": Family(_ARM, 1, 4, 2.6, 25_725, True),
    "m7i": Family(_X86, 2, 4, 3.2, 21_409, True),
    "m7i-flex": Family(_X86, 2, 4, 3.2, 20_758, True),
    "m8a": Family(_X86, 1, 4, 4.5, 43_538, True),
    "m8g": Family(_ARM, 1, 4, 2.8, 30_098, True),
    "m8i": Family(_X86, 2, 4, 3.9, 23_381, True),
    "m9g": Family(_ARM, 1, 4, 3.3, 36_333, True),
    "c5": Family(_X86, 2, 2, 3.4, 16_552, False),
    "c6a": Family(_X86, 2, 2, 3.6, 20_820, True),
    "c6g": Family(_ARM, 1, 2, 2.5, 19_860, True),
    "c6i": Family(_X86, 2, 2, 3.5, 17_441, True),
    "c7a": Family(_X86, 1, 2, 3.7, 32_005, True),
    "c7g": Family(_ARM, 1, 2, 2.6, 25_184, True),
    "c7i": Family(_X86, 2, 2, 3.2, 21_769, True),
    "c8g": Family(_ARM, 1, 2, 2.8, 30_293, True),
    "r5": Family(_X86, 2, 8, 3.1, 14_077, False),
    "r6g": Family(_ARM, 1, 8, 2.5, 19_634, True),
    "r6i": Family(_X86, 2, 8, 3.5, 17_355, False),
    "r7g": Family(_ARM, 1, 8, 2.6, 25_643, True),
    "r7i": Family(_X86, 2, 8, 3.2, 22_373, True),
    "r8g": Family(_ARM, 1, 8, 2.8, 30_160, True),
    "t3": Family(_X86, 2, 4, 2.5, 14_178, True),
    "t3a": Family(_X86, 2, 4, 2.2, 12_993, True),
    "t4g": Family(_ARM, 1, 4, 2.5, 19_372, True),
}

SPOT_BORROWED_FROM: Final = {"m8i": "m7i", "m8a": "m7a", "m9g": "m8g"}

# EC2 user guide, "Key concepts for burstable performance instances": T3, T3a and T4g share one table, T2 has its own.
BURST_OF_SIZE: Final[dict[str, Burst]] = {
    "nano": Burst(2, 6, 144, 0.05),
    "micro": Burst(2, 12, 288, 0.10),
    "small": Burst(2, 24, 576, 0.20),
    "medium": Burst(2, 24, 576, 0.20),
    "large": Burst(2, 36, 864, 0.30),
    "xlarge": Burst(4, 96, 2304, 0.40),
    "2xlarge": Burst(8, 192, 4608, 0.40),
}
T2_BURST_OF_SIZE: Final[dict[str, Burst]] = {
    "nano": Burst(1, 3, 72, 0.05),
    "micro": Burst(1, 6, 144, 0.10),
    "small": Burst(1, 12, 288, 0.20),
    "medium": Burst(2, 24, 576, 0.20),
    "large": Burst(2, 36, 864, 0.30),
    "xlarge": Burst(4, 54, 1296, 0.225),
    "2xlarge": Burst(8, 81.6, 1958.4, 0.17),
}

# The twelve types of the default launch specifications come first, in the order their pools are drawn in.
OFFERS: Final[tuple[Offer, ...]] = (
    Offer("m6i.large", 0.09600, 0.781, 650, 0.63, 2),
    Offer("m6a.large", 0.08640, 0.781, 650, 0.59, 1),
    Offer("m7i.large", 0.10080, 0.781, 650, 0.68, 3),
    Offer("c6a.large", 0.07650, 0.781, 650, 0.62, 3),
    Offer("c7i.large", 0.08925, 0.781, 650, 0.66, 4),
    Offer("m7g.large", 0.08160, 0.937, 630, 0.64, 2),
    Offer("m8g.large", 0.08976, 0.937, 630, 0.65, 4),
    Offer("c7g.large", 0.07250, 0.937, 630, 0.49, 0),
    Offer("c8g.large", 0.07976, 0.937, 630, 0.61, 0),
    Offer("c7g.xlarge", 0.14500, 1.876, 1250, 0.62, 0),
    Offer("m7i.xlarge", 0.20160, 1.562, 1250, 0.53, 3),
    Offer("m7g.xlarge", 0.16320, 1.876, 1250, 0.62, 1),
    Offer("m5.large", 0.09600, 0.75, 650, 0.66, 3),
    Offer("m5.xlarge", 0.19200, 1.25, 1150, 0.66, 4),
    Offer("m5.2xlarge", 0.38400, 2.5, 2300, 0.54, 2),
    Offer("m5.4xlarge", 0.76800, 5, 4750, 0.58, 3),
    Offer("m5a.large", 0.08600, 0.75, 650, 0.60, 3),
    Offer("m5a.xlarge", 0.17200, 1.25, 1085, 0.54, 3),
    Offer("m5a.2xlarge", 0.34400, 2.5, 1580, 0.54, 4),
    Offer("m5a.4xlarge", 0.68800, 5, 2880, 0.58, 4),
    Offer("m6a.xlarge", 0.17280, 1.562, 1250, 0.57, 4),
    Offer("m6a.2xlarge", 0.34560, 3.125, 2500, 0.54, 4),
    Offer("m6a.4xlarge", 0.69120, 6.25, 5000, 0.54, 3),
    Offer("m6g.large", 0.07700, 0.75, 630, 0.60, 2),
    Offer("m6g.xlarge", 0.15400, 1.25, 1188, 0.68, 1),
    Offer("m6g.2xlarge", 0.30800, 2.5, 2375, 0.64, 1),
    Offer("m6g.4xlarge", 0.61600, 5, 4750, 0.66, 2),
    Offer("m6i.xlarge", 0.19200, 1.562, 1250, 0.55, 1),
    Offer("m6i.2xlarge", 0.38400, 3.125, 2500, 0.58, 4),
    Offer("m6i.4xlarge", 0.76800, 6.25, 5000, 0.66, 4),
    Offer("m7a.large", 0.11592, 0.781, 650, 0.70, 1),
    Offer("m7a.xlarge", 0.23184, 1.562, 1250, 0.62, 4),
    Offer("m7a.2xlarge", 0.46368, 3.125, 2500, 0.55, 4),
    Offer("m7a.4xlarge", 0.92736, 6.25, 5000, 0.60, 4),
    Offer("m7g.2xlarge", 0.32640, 3.75, 2500, 0.64, 1),
    Offer("m7g.4xlarge", 0.65280, 7.5, 5000, 0.62, 1),
    Offer("m7i.2xlarge", 0.40320, 3.125, 2500, 0.62, 4),
    Offer("m7i.4xlarge", 0.80640, 6.25, 5000, 0.52, 1),
    Offer("m7i-flex.large", 0.09576, 0.39, 312, 0.69, 2),
    Offer("m7i-flex.xlarge", 0.19152, 0.781, 625, 0.62, 2),
    Offer("m7i-flex.2xlarge", 0.38304, 1.562, 1250, 0.50, 0),
    Offer("m7i-flex.4xlarge", 0.76608, 3.125, 2500, 0.61, 4),
    Offer("m8a.large", 0.12172, 0.937, 650, 0.70, 1),
    Offer("m8a.xlarge", 0.24344, 1.875, 1250, 0.62, 4),
    Offer("m8a.2xlarge", 0.48688, 3.75, 2500, 0.55, 4),
    Offer("m8a.4xlarge", 0.97376, 7.5, 5000, 0.60, 4),
    Offer("m8g.xlarge", 0.17952, 1.875, 1250, 0.72, 4),
    Offer("m8g.2xlarge", 0.35904, 3.75, 2500, 0.62, 1),
    Offer("m8g.4xlarge", 0.71808, 7.5, 5000, 0.57, 0),
    Offer("m8i.large", 0.10584, 0.937, 650, 0.68, 3),
    Offer("m8i.xlarge", 0.21168, 1.875, 1250, 0.53, 3),
    Offer("m8i.2xlarge", 0.42336, 3.75, 2500, 0.62, 4),
    Offer("m8i.4xlarge", 0.84672, 7.5, 5000, 0.52, 1),
    Offer("m9g.large", 0.09784, 1, 760, 0.65, 4),
    Offer("m9g.xlarge", 0.19568, 2.1, 1500, 0.72, 4),
    Offer("m9g.2xlarge", 0.39136, 4.25, 3000, 0.62, 1),
    Offer("m9g.4xlarge", 0.78272, 8.5, 6000, 0.57, 0),
    Offer("c5.large", 0.08500, 0.75, 650, 0.59, 0),
    Offer("c5.xlarge", 0.17000, 1.25, 1150, 0.56, 0),
    Offer("c5.2xlarge", 0.34000, 2.5, 2300, 0.56, 1),
    Offer("c5.4xlarge", 0.68000, 5, 4750, 0.66, 4),
    Offer("c6a.xlarge", 0.15300, 1.562, 1250, 0.59, 3),
    Offer("c6a.2xlarge", 0.30600, 3.125, 2500, 0.57, 3),
    Offer("c6a.4xlarge", 0.61200, 6.25, 5000, 0.56, 3),
    Offer("c6g.large", 0.06800, 0.75, 630, 0.59, 1),
    Offer("c6g.xlarge", 0.13600, 1.25, 1188, 0.61, 1),
    Offer("c6g.2xlarge", 0.27200, 2.5, 2375, 0.66, 0),
    Offer("c6g.4xlarge", 0.54400, 5, 4750, 0.71, 0),
    Offer("c6i.large", 0.08500, 0.781, 650, 0.63, 1),
    Offer("c6i.xlarge", 0.17000, 1.562, 1250, 0.60, 3),
    Offer("c6i.2xlarge", 0.34000, 3.125, 2500, 0.51, 1),
    Offer("c6i.4xlarge", 0.68000, 6.25, 5000, 0.57, 3),
    Offer("c7a.large", 0.10264, 0.781, 650, 0.69, 4),
    Offer("c7a.xlarge", 0.20528, 1.562, 1250, 0.58, 4),
    Offer("c7a.2xlarge", 0.41056, 3.125, 2500, 0.46, 4),
    Offer("c7a.4xlarge", 0.82112, 6.25, 5000, 0.63, 4),
    Offer("c7g.2xlarge", 0.29000, 3.75, 2500, 0.69, 0),
    Offer("c7g.4xlarge", 0.58000, 7.5, 5000, 0.71, 0),
    Offer("c7i.xlarge", 0.17850, 1.562, 1250, 0.61, 4),
    Offer("c7i.2xlarge", 0.35700, 3.125, 2500, 0.59, 4),
    Offer("c7i.4xlarge", 0.71400, 6.25, 5000, 0.61, 3),
    Offer("c8g.xlarge", 0.15952, 1.875, 1250, 0.66, 2),
    Offer("c8g.2xlarge", 0.31904, 3.75, 2500, 0.70, 4),
    Offer("c8g.4xlarge", 0.63808, 7.5, 5000, 0.70, 4),
    Offer("r5.large", 0.12600, 0.75, 650, 0.60, 0),
    Offer("r5.xlarge", 0.25200, 1.25, 1150, 0.69, 3),
    Offer("r5.2xlarge", 0.50400, 2.5, 2300, 0.61, 4),
    Offer("r5.4xlarge", 1.00800, 5, 4750, 0.65, 4),
    Offer("r6g.large", 0.10080, 0.75, 630, 0.70, 3),
    Offer("r6g.xlarge", 0.20160, 1.25, 1188, 0.65, 4),
    Offer("r6g.2xlarge", 0.40320, 2.5, 2375, 0.63, 4),
    Offer("r6g.4xlarge", 0.80640, 5, 4750, 0.61, 4),
    Offer("r6i.large", 0.12600, 0.781, 650, 0.68, 4),
    Offer("r6i.xlarge", 0.25200, 1.562, 1250, 0.58, 4),
    Offer("r6i.2xlarge", 0.50400, 3.125, 2500, 0.55, 4),
    Offer("r6i.4xlarge", 1.00800, 6.25, 5000, 0.58, 4),
    Offer("r7g.large", 0.10710, 0.937, 630, 0.68, 2),
    Offer("r7g.xlarge", 0.21420, 1.876, 1250, 0.71, 4),
    Offer("r7g.2xlarge", 0.42840, 3.75, 2500, 0.67, 4),
    Offer("r7g.4xlarge", 0.85680, 7.5, 5000, 0.67, 4),
    Offer("r7i.large", 0.13230, 0.781, 650, 0.65, 2),
    Offer("r7i.xlarge", 0.26460, 1.562, 1250, 0.60, 3),
    Offer("r7i.2xlarge", 0.52920, 3.125, 2500, 0.59, 4),
    Offer("r7i.4xlarge", 1.05840, 6.25, 5000, 0.66, 4),
    Offer("r8g.large", 0.11782, 0.937, 630, 0.68, 4),
    Offer("r8g.xlarge", 0.23564, 1.875, 1250, 0.69, 4),
    Offer("r8g.2xlarge", 0.47128, 3.75, 2500, 0.61, 4),
    Offer("r8g.4xlarge", 0.94256, 7.5, 5000, 0.67, 4),
    Offer("t3.large", 0.08320, 0.512, 695, 0.62, 1),
    Offer("t3.xlarge", 0.16640, 1.024, 695, 0.60, 2),
    Offer("t3.2xlarge", 0.33280, 2.048, 695, 0.65, 2),
    Offer("t3a.large", 0.07520, 0.512, 695, 0.67, 4),
    Offer("t3a.xlarge", 0.15040, 1.024, 695, 0.67, 4),
    Offer("t3a.2xlarge", 0.30080, 2.048, 695, 0.62, 3),
    Offer("t4g.large", 0.06720, 0.512, 695, 0.72, 4),
    Offer("t4g.xlarge", 0.13440, 1.024, 695, 0.63, 4),
    Offer("t4g.2xlarge", 0.26880, 2.048, 695, 0.66, 4),
)
