"""Parameters of a synthetic patient and of the position on a film."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Patient:
    """Parameters that are constant for all films of a patient; lengths in chest units (see `canvas`).

    Attributes:
        wall: Thickness of muscle and fat outside the rib cage.
        depth: Front-to-back depth of the trunk.
        broad: Half-width of the rib cage, about 1.
        upper: How full the rib cage is above; larger is rounder shoulders of the lungs.
        heart: Size of the heart, 1 is average.
        heart_shift: Sideways shift of the heart.
        thymus: Width the thymus adds to the upper mediastinum; large in small children.
        dome: y of the right dome of the diaphragm at a full breath.
        dome_step: How much lower the left dome stands.
        rib_step: Distance of one rib from the next.
        rib_tilt: How far a rib falls from back to front.
        rib_width: Half-width of a rib as a share of `rib_step`.
        rib_density: Attenuation of ribs, 1 is average.
        rib_start: Phase of the first rib.
        clavicle: y of the inner end, rise of the outer end, and bow of the clavicles.
        arm: Angle of the right and the left arm in radians; negative is raised.
        arm_radius: Half-thickness of the upper arm.
        aeration: Density of healthy lung relative to water, before the film's depth of breath.
        vessels: Strength of the lung vessels, 1 is average.
        bend: Curve of the midline, see `Canvas`.
        texture_seed: Seed of the textures, vessels and bowel gas of the patient.
    """

    wall: float
    depth: float
    broad: float
    upper: float
    heart: float
    heart_shift: float
    thymus: float
    dome: float
    dome_step: float
    rib_step: float
    rib_tilt: float
    rib_width: float
    rib_density: float
    rib_start: float
    clavicle: tuple[float, float, float]
    arm: tuple[float, float]
    arm_radius: float
    aeration: float
    vessels: float
    bend: tuple[float, float, float]
    texture_seed: int


@dataclass(frozen=True)
class Pose:
    """Position and breath of a patient on one film.

    Attributes:
        breath: Shift of the diaphragm, positive is a deeper breath.
        turn: Rotation about the long axis, which shifts structures in front against those behind.
        aeration: Factor on the density of healthy lung.
        veil: For the right and the left side: soft tissue over the lung, in chest units (a turned or fat child).
        veil_centre: y of the densest place of each side's veil.
    """

    breath: float
    turn: float
    aeration: float
    veil: tuple[float, float]
    veil_centre: tuple[float, float]


def sample_patient(rng: np.random.Generator) -> Patient:
    """Sample a patient."""
    arm = rng.uniform(-1.15, 1.35)
    return Patient(
        wall=rng.uniform(0.14, 0.3),
        depth=rng.uniform(1.15, 1.45),
        broad=rng.uniform(0.93, 1.05),
        upper=rng.uniform(0.44, 0.58),
        heart=rng.uniform(0.88, 1.14),
        heart_shift=rng.normal(0, 0.03),
        thymus=rng.uniform(0.0, 0.16) * (rng.random() < 0.6),
        dome=rng.uniform(1.27, 1.46),
        dome_step=rng.uniform(0.0, 0.1),
        rib_step=rng.uniform(0.16, 0.186),
        rib_tilt=rng.uniform(0.48, 0.72),
        rib_width=rng.uniform(0.19, 0.25),
        rib_density=rng.uniform(0.75, 1.25),
        rib_start=rng.uniform(-0.1, 0.02),
        clavicle=(rng.uniform(0.04, 0.17), rng.uniform(0.14, 0.34), rng.uniform(0.04, 0.075)),
        arm=(arm + rng.normal(0, 0.12), arm + rng.normal(0, 0.12)),
        arm_radius=rng.uniform(0.27, 0.37),
        aeration=rng.uniform(0.2, 0.36),
        vessels=rng.uniform(0.75, 1.3),
        bend=(rng.uniform(0.0, 0.035), rng.uniform(1.2, 2.6), rng.uniform(0, 6.28)),
        texture_seed=int(rng.integers(2**31)),
    )


def sample_pose(rng: np.random.Generator) -> Pose:
    """Sample a pose, independent of any disease."""
    heavy = rng.gamma(0.9, 0.06, 2)
    return Pose(
        breath=rng.normal(0, 0.055),
        turn=rng.normal(0, 0.05),
        aeration=rng.uniform(0.8, 1.35),
        veil=(float(min(heavy[0], 0.25)), float(min(heavy[1], 0.25))),
        veil_centre=(rng.uniform(0.3, 1.4), rng.uniform(0.3, 1.4)),
    )


def texture_stream(patient: Patient, purpose: int) -> np.random.Generator:
    """Return the random numbers of a texture, which is the same on every film of a patient."""
    return np.random.default_rng(np.random.SeedSequence([patient.texture_seed, purpose]))
