"""What a run's world can be set to, and the worlds and agents that are made of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np

from ..agents.curiosity import CuriousAgent
from ..agents.motor import Motor
from ..agents.scripted import Agent, DeckAgent, IndependentAgent, RandomAgent, SaliencyAgent
from ..envs.eye.foveae import FoveaKind
from ..envs.eye.oculomotor import Oculomotor
from ..envs.object_rotation import ObjectRotationWorld, RotationRange
from ..envs.saccade import SaccadeWorld
from ..envs.splits import Split
from ..envs.stored_views import StoredViewsWorld
from ..envs.variation import FactorDraw
from ..envs.world import MotionSignal, World
from ..world_model.protocol import WorldModel

AgentName = Literal["random", "independent", "saliency", "curious"]
FactorSetting = FactorDraw | float | tuple[Literal["episode", "step"], float, float]
"""A draw over the factor's own range; a number, at which it is fixed; or a draw with the least and the greatest."""

HELD_OUT_MEMBERS = 16
"""Validation objects, and test objects, of each family."""


@dataclass(frozen=True)
class SensorVariation:
    """Factors of every view, each "fixed", "episode", "step"; a number; or "episode" or "step" with least and greatest.

    None leaves a factor as the environment has it: fixed.
    """

    image_contrast: FactorSetting | None = None
    """In [0, 4], 1 as is."""
    image_noise: FactorSetting | None = None
    """Standard deviation in grey levels."""

    def named(self) -> dict[str, Any]:
        """Return the `variation` of an environment: the factors that are set, by name."""
        wanted = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: _factor(value) for name, value in wanted.items() if value is not None}


@dataclass(frozen=True)
class SceneVariation(SensorVariation):
    """Factors of a scene, each "fixed", "episode", "step"; a number; or "episode" or "step" with least and greatest.

    None leaves a factor as the environment has it: floor and light as `lighting` says, the others fixed.
    """

    floor_hue: FactorSetting | None = None
    """In [0, 1] turns."""
    spot_theta: FactorSetting | None = None
    """Polar angle of the light, in [0, pi/4] radians."""
    spot_phi: FactorSetting | None = None
    """Azimuth of the light, in [0, 2 pi] radians."""
    spot_hue: FactorSetting | None = None
    """In [0, 1] turns."""
    object_hue: FactorSetting | None = None
    """Shift of the object's hues, in [0, 1] turns."""
    object_scale: FactorSetting | None = None
    """Share of the object's size, in [0.05, 1]."""
    camera_elevation: FactorSetting | None = None
    """Polar angle of the camera from +z, in [0, 1.2] radians."""
    camera_distance: FactorSetting | None = None
    """In [1.5, 4] scene units."""
    ground_texture: FactorSetting | None = None
    """How much darker every other square of the floor is, in [0, 1]."""


@dataclass(frozen=True)
class RotationOptions:
    """The world of rotations; see the page of `GlimpseWorld/ObjectRotation-v0`."""

    size: int = 64
    """Side of the view in pixels."""
    members_per_family: int = 64
    """Training objects of each family."""
    palette: Literal["parts", "objects"] = "parts"
    """Colours by part, alike in all objects, or colours of each object's own."""
    max_angle: float = 0.7853981633974483
    """Radians that an action component of 1 turns."""
    rotation: RotationRange = "3diebench"
    """Any orientation ("free"); Euler angles within 90 degrees; or "ood": orientations that "3diebench" never shows."""
    lighting: FactorDraw = "step"
    """When floor hue, spot position and spot hue are drawn."""
    shadows: bool = True
    """Cast shadows."""
    motion: Literal["rotation", "rotation-colour"] = "rotation"
    """What a motion is: the rotation, or with the differences of floor hue and light hue behind it, drawn each step."""
    motion_signal: MotionSignal = "realised"
    """What the motion tells: the rotation that was made, or the one that was commanded."""
    variation: SceneVariation = field(default_factory=SceneVariation)
    """Factors of variation, one by one; they come before `lighting`."""

    def arguments(self, split: Split) -> dict[str, Any]:
        """Return the arguments of the world, and of its tasks' environments, with the objects of `split`."""
        members = self.members_per_family if split == "train" else HELD_OUT_MEMBERS
        changed = {"split": split, "members_per_family": members, "variation": self.variation.named() or None}
        return _shallow(self) | changed

    def world(self, split: Split) -> ObjectRotationWorld:
        """Return the world with the objects of `split`."""
        return ObjectRotationWorld(**self.arguments(split))


@dataclass(frozen=True)
class PriorityOptions:
    """Where agent "saliency", and the views that its run is evaluated on, fixate."""

    saliency: bool = True
    """Whether saliency counts; without it all places are alike but for the rest."""
    radius: float | None = None
    """Radius of inhibition of return in image units (half the image side); None for 16 pixels, as in the paper."""
    strength: float = 1.0
    """How much priority falls within it: 1 to nothing, 0 switches inhibition of return off."""
    decay: float = 1.0
    """Share of the inhibition that each further fixation leaves: 1 never fades."""
    centre_bias: float | None = None
    """Standard deviation of a Gaussian weight around the image's centre, image units; None for none."""
    temperature: float = 1.0
    """Fixations are drawn in proportion to priority ** (1 / temperature); 0 draws among the highest alone."""

    def named(self) -> dict[str, Any]:
        """Return the `priority` of an environment."""
        return {name: value for name, value in asdict(self).items() if name != "radius" or value is not None}


@dataclass(frozen=True)
class SaccadeOptions:
    """The world of saccades; see the page of `GlimpseWorld/Saccade-v0`."""

    images: str = "scenes"
    """Built in: "scenes", "landscapes", "pairs", "search-easy", "search", "search-hard" or "textures"; or the path of a
    data set (STL-10, CIFAR-10/100, Tiny ImageNet), a folder with one sub-folder a class, an `.npz` or an `.npy` file.
    STL-10's published saliency maps are taken where saliency_train.npy and saliency_test.npy lie beside its
    binaries."""
    probe_images: str | None = None
    """Images that probes and evaluation look at in place of `images`, such as STL-10's folder for a run on its
    unlabeled_X.bin; None for the same."""
    glimpse_size: int = 32
    """Side of the glimpse in pixels."""
    max_amplitude: float = 1.0
    """Image units that an action component of 1 moves."""
    fovea: FoveaKind = "crop"
    """What a glimpse is: "crop", "multiscale", "logpolar" or "blurred"."""
    scales: tuple[float, ...] | None = None
    """Of "multiscale": image pixels per glimpse pixel, rising; None for (1, 2, 4)."""
    radius: float | None = None
    """Of "logpolar" the field's, of "blurred" the sharp disc's radius in pixels; None for the fovea's own."""
    subpixel: bool = False
    """Fixations on whole pixels, or sampled bilinearly where they fall."""
    zoom: tuple[float, float] | None = None
    """Nearest and farthest image pixels per glimpse pixel, which a third action component moves in; None for none."""
    motion_signal: MotionSignal = "realised"
    """What the motion tells: the saccade that was made, or the one that was commanded."""
    priority: PriorityOptions = field(default_factory=PriorityOptions)
    """Where agent "saliency" fixates."""
    oculomotor: Oculomotor = field(default_factory=Oculomotor)
    """The eye: its longest saccade, and how it misses."""
    variation: SensorVariation = field(default_factory=SensorVariation)
    """Factors of variation, one by one."""

    def arguments(self, split: Split, *, probing: bool = False) -> dict[str, Any]:
        """Return the arguments of the world, and of its tasks' environments, with the images of `split`.

        They are those of `probe_images` where `probing`.

        Raises:
            ValueError: if no images are named.
        """
        source = self.probe_images if probing and self.probe_images is not None else self.images
        if not source:
            raise ValueError("no images: name the folder of STL-10's binaries, or others, with --saccade.images PATH")
        options = _shallow(self)
        del options["probe_images"]
        perfect = self.oculomotor == Oculomotor()
        changed = {
            "split": split,
            "images": source,
            "priority": self.priority.named(),
            "oculomotor": None if perfect else asdict(self.oculomotor),
            "variation": self.variation.named() or None,
        }
        return options | changed

    def world(self, split: Split, *, probing: bool = False) -> SaccadeWorld:
        """Return the world with the images of `split`; of `probe_images` where `probing`."""
        return SaccadeWorld(**self.arguments(split, probing=probing))


@dataclass(frozen=True)
class StoredOptions:
    """The world of stored views, 3DIEBench on disk; see the page of `GlimpseWorld/StoredViews-v0`."""

    source: str = ""
    """Path of the tree SYNSET/OBJECT/image_K.jpg; with the lists of the publication in it, its val list is the test
    split."""
    size: int = 64
    """Side of the view in pixels; all views are decoded at this size into the cache once."""
    views_per_object: int = 50
    """Stored views of each object."""
    max_angle: float = 3.141592653589793
    """Radians that an action component of 1 turns; pi reaches every view from every other."""
    motion_signal: MotionSignal = "realised"
    """What the motion tells: the rotation between the views, or the one that was commanded."""

    def world(self, split: Split) -> StoredViewsWorld:
        """Return the world with the objects of `split`."""
        if not self.source:
            raise ValueError("no stored views: name the folder of 3DIEBench with --stored.source PATH")
        return StoredViewsWorld(split=split, **_shallow(self))


def motor_of(world: World) -> Motor:
    """Return what actions do in `world`: the motions it commands by them.

    Raises:
        ValueError: if its motions tell more than an action commands.
    """
    if world.motion_kind != "translation":
        assert isinstance(world, (ObjectRotationWorld, StoredViewsWorld))
        return Motor(world.motion_kind, (world.max_angle,))
    ones = np.ones((1, world.action_space.shape[0]))
    return Motor("translation", tuple(world.commanded(ones)[0].astype(np.float64).tolist()))


def half_glimpse(world: SaccadeWorld) -> float:
    """Return half the side of what a glimpse sees, image units: what is nearer than that in x and y is in it."""
    return world.fovea.field / world.images.side


def make_agent(
    name: AgentName, world: World, num_envs: int, rng: np.random.Generator, model: WorldModel | None = None
) -> Agent:
    """Return the agent called `name` for B = `num_envs` rows of `world`.

    Args:
        name: Which one.
        world: Where it acts.
        num_envs: B.
        rng: Where its draws come from.
        model: That of the agent "curious", which may go on learning; the others need none.

    Raises:
        ValueError: if it cannot act in that world, or with that model.
    """
    if name == "curious":
        if model is None:
            raise ValueError('agent "curious" acts by the model of a training run: take another agent outside of one')
        return CuriousAgent(model, motor_of(world), num_envs, rng)
    if name == "random":
        return RandomAgent(num_envs, world.action_space.shape[0], rng)
    if name == "saliency":
        return _make_saliency_agent(world, num_envs, rng)
    if isinstance(world, StoredViewsWorld):
        return DeckAgent(num_envs, world.views_per_object, world.actions_towards_views, rng)
    return IndependentAgent(num_envs, world.draw_poses, world.actions_towards, rng)


def _make_saliency_agent(world: World, num_envs: int, rng: np.random.Generator) -> SaliencyAgent:
    if not isinstance(world, SaccadeWorld):
        raise ValueError(f"the saliency agent looks at images; {type(world).__name__} has none")
    return SaliencyAgent(
        world.priority_map(num_envs),
        world.images.saliency if world.priority.saliency else None,
        reach=world.reach,
        max_amplitude=world.max_amplitude,
        rng=rng,
        action_size=world.action_space.shape[0],
    )


def _factor(setting: Any) -> Any:
    """Return what `envs.variation.Factor.configured` takes for a `FactorSetting`."""
    if isinstance(setting, str):
        return setting
    if isinstance(setting, (int, float)):
        return {"value": setting}
    draw, low, high = setting
    return {"draw": draw, "low": low, "high": high}


def _shallow(options: Any) -> dict[str, Any]:
    return {f.name: getattr(options, f.name) for f in fields(options)}
