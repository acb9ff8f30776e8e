"""The task: Gymnasium environments over the simulated fleet.

Importing this package registers them and is cheap; the simulator is compiled when the first environment is made. Where
it was not imported, ``gymnasium.make("envs:fleetgym/AWSInfrastructure-v0")`` imports it.
"""

import gymnasium

ENVIRONMENT_ID = "fleetgym/AWSInfrastructure-v0"


def register_environments() -> None:
    """Register every environment of this project with Gymnasium."""
    if ENVIRONMENT_ID not in gymnasium.registry:
        gymnasium.register(
            id=ENVIRONMENT_ID,
            entry_point="envs.core:InfrastructureEnv",
            vector_entry_point="envs.vector:InfrastructureVectorEnv",
        )


register_environments()
