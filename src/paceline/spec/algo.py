"""Algorithms as data: one spec each, with the fields that all of them share in one place."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from paceline.spec.base import Spec

AlgoName = Literal["ppo", "a2c", "a3c", "impala"]
Optimizer = Literal["adam", "rmsprop"]
_MAX_LAG = "what was sampled more updates ago is dropped"


class NetworkSpec(Spec):
    """The policy and value networks.

    ``torso`` ``auto`` takes a CNN for image observations (rank 3) and an MLP for everything else. ``hidden_sizes`` are
    the widths of the MLP's layers, or of the layers behind the CNN's convolutions; ``activation`` is theirs. Left open,
    they are 64, 64 and tanh for an MLP, 512 and relu for a CNN. ``log_std_init`` is the log standard deviation that
    continuous actions begin with: -2 explores little and learns faster where rewards are dense.
    """

    torso: Literal["auto", "mlp", "cnn"] = "auto"
    hidden_sizes: tuple[Annotated[int, Field(gt=0)], ...] | None = None
    activation: Literal["tanh", "relu"] | None = None
    log_std_init: float = Field(default=0.0, ge=-20, le=2)


class ActorCriticSpec(Spec):
    """What all algorithms here share: a policy and a value function, learnt from batches of steps.

    Fields that are ``None`` are filled in per environment by :func:`paceline.agents.presets.resolve_algo`; a run's
    ``spec.yaml`` always holds the filled-in values.
    """

    name: str = ""
    batch_size: int | None = Field(default=None, gt=0, description="steps per update, over all envs")
    updates_per_iteration: int | None = Field(default=None, gt=0, description="updates that one iteration tells of")
    learning_rate: float | None = Field(default=None, gt=0)
    anneal_learning_rate: bool = True
    gamma: float = Field(default=0.99, gt=0, le=1)
    ent_coef: float | None = Field(default=None, ge=0)
    vf_coef: float = Field(default=0.5, ge=0)
    max_grad_norm: float = Field(default=0.5, gt=0)
    normalize_observations: bool | None = None
    normalize_rewards: bool | None = None
    network: NetworkSpec = NetworkSpec()

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of one iteration; 0 while ``batch_size`` is open."""
        return (self.batch_size or 0) * (self.updates_per_iteration or 1)


class PPOSpec(ActorCriticSpec):
    """Proximal policy optimisation (Schulman et al. 2017), with the details of Huang et al. 2022."""

    name: Literal["ppo"] = "ppo"
    minibatch_size: int | None = Field(default=None, gt=0)
    num_epochs: int | None = Field(default=None, gt=0)
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    clip_coef: float = Field(default=0.2, gt=0)
    clip_value_loss: bool = True
    normalize_advantages: bool = True
    adam_eps: float = Field(default=1e-5, gt=0)

    @model_validator(mode="after")
    def _minibatches_fill_the_batch(self) -> Self:
        if self.batch_size and self.minibatch_size and self.batch_size % self.minibatch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of minibatch_size {self.minibatch_size}; "
                f"choose a minibatch_size that divides it"
            )
        return self


class NStepSpec(ActorCriticSpec):
    """What A2C and A3C share: one gradient step on each batch, towards n-step returns (Mnih et al. 2016).

    With ``gae_lambda`` 1 the advantages are those of the paper: n-step returns less the value, n the rest of the
    rollout.
    """

    gae_lambda: float = Field(default=1.0, ge=0, le=1)
    normalize_advantages: bool = False
    optimizer: Optimizer = "rmsprop"
    optimizer_eps: float = Field(default=1e-5, gt=0)
    rmsprop_decay: float = Field(default=0.99, gt=0, lt=1)


class A2CSpec(NStepSpec):
    """Advantage actor-critic, the synchronous form of Mnih et al. 2016."""

    name: Literal["a2c"] = "a2c"


class A3CSpec(NStepSpec):
    """Asynchronous advantage actor-critic (Mnih et al. 2016): runners push gradients, the learner applies them.

    ``batch_size`` counts the steps behind one gradient, which are one runner's.
    """

    name: Literal["a3c"] = "a3c"
    max_lag: int = Field(default=256, ge=1, description=_MAX_LAG)


class ImpalaSpec(ActorCriticSpec):
    """Importance-weighted actor-learner architecture (Espeholt et al. 2018), which corrects for lag by V-trace.

    ``rho_bar`` and ``c_bar`` clip the importance weights of the temporal differences and of the traces;
    ``vtrace_lambda`` scales the traces. ``rollout_length`` is the length T of the trajectories that actors send; left
    open, it is 20, or the nearest below that of which a batch holds a whole number. Where nothing is asynchronous, it
    is what a batch holds of each environment.
    """

    name: Literal["impala"] = "impala"
    rollout_length: int | None = Field(default=None, gt=0, description="steps of a trajectory that an actor sends")
    max_lag: int = Field(default=256, ge=1, description=_MAX_LAG)
    rho_bar: float = Field(default=1.0, gt=0)
    c_bar: float = Field(default=1.0, gt=0)
    vtrace_lambda: float = Field(default=1.0, ge=0, le=1)
    optimizer: Optimizer = "adam"
    optimizer_eps: float = Field(default=1e-5, gt=0)
    rmsprop_decay: float = Field(default=0.99, gt=0, lt=1)


ALGORITHMS: dict[str, type[ActorCriticSpec]] = {
    "ppo": PPOSpec,
    "a2c": A2CSpec,
    "a3c": A3CSpec,
    "impala": ImpalaSpec,
}


def _name_of(algo: Any) -> str:
    """Return whose fields these are; without a name they are PPO's."""
    name = algo.get("name", "ppo") if isinstance(algo, dict) else getattr(algo, "name", "ppo")
    return str(name)


AlgoSpec = Annotated[
    Annotated[PPOSpec, Tag("ppo")]
    | Annotated[A2CSpec, Tag("a2c")]
    | Annotated[A3CSpec, Tag("a3c")]
    | Annotated[ImpalaSpec, Tag("impala")],
    Discriminator(_name_of),
]
"""Any of the algorithms, told apart by ``name``."""
