"""The task: Gymnasium environments over the simulated fleet.

Importing this package registers them and is cheap; the simulator is compiled when the first environment is made. Where
it was not imported, ``gymnasium.make("envs:fleetgym/AWSInfrastructure-v0")`` imports it.
"""

import gymnasium
from gymnasium.envs.registration import WrapperSpec

ENVIRONMENT_ID = "fleetgym/AWSInfrastructure-v0"
CONTINUOUS_ID = "fleetgym/AWSInfrastructureContinuous-v0"
"""The same with points of a box for actions (``envs.box``)."""


def register_environments() -> None:
    """Register every environment of this project with Gymnasium."""
    if ENVIRONMENT_ID not in gymnasium.registry:
        gymnasium.register(
            id=ENVIRONMENT_ID,
            entry_point="envs.core:InfrastructureEnv",
            vector_entry_point="envs.vector:InfrastructureVectorEnv",
        )
    if CONTINUOUS_ID not in gymnasium.registry:
        gymnasium.register(
            id=CONTINUOUS_ID,
            entry_point="envs.core:InfrastructureEnv",
            additional_wrappers=(WrapperSpec("BoxAction", "envs.box:BoxAction", {}),),
        )


register_environments()
