"""A synthetic patient: the body, the position on a film, and the pneumonia.

The pneumonia is a change of the lung alone: air gives way to fluid in a lobe, or walls and tissue thicken on both sides.
A lobar consolidation (file names: bacteria) fills a part of one or two lobes, stops at the fissures, keeps its bronchi
filled with air, and takes the silhouette of the heart or the diaphragm away where it touches them. An interstitial
pneumonia (virus) draws streaks along the bronchi and a fine net, with a patchy haze, on both sides.
"""

from dataclasses import dataclass

import numpy as np

from pneumoscan.phantom.canvas import Canvas, Plane, draw_branches, grow_tree, spot, step


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


# Pneumonia


BACTERIA = "bacteria"
VIRUS = "virus"


@dataclass(frozen=True)
class Focus:
    """One consolidated part of a lobe.

    Attributes:
        lobe: `RUL`, `RML`, `RLL`, `LUL`, `LING` or `LLL`.
        centre: x and y of its densest place, in chest units.
        radii: Its half-axes, in chest units.
    """

    lobe: str
    centre: tuple[float, float]
    radii: tuple[float, float]


@dataclass(frozen=True)
class Pneumonia:
    """A patient's disease.

    Attributes:
        cause: `bacteria` or `virus`.
        foci: The consolidations; none for a virus.
        centre: For a virus: y of the worst level on the right and on the left.
        texture_seed: Seed of the textures of the disease.
    """

    cause: str
    foci: tuple[Focus, ...]
    centre: tuple[float, float]
    texture_seed: int


# Lung that still breathes takes in more air: this much of its density is lost.
_TRAPPED = 0.055

# For each lobe: the box (x from, x to, y from, y to; x away from the midline) in which a focus has its centre.
_LOBES = {
    "RUL": (-1, 0.35, 0.68, 0.22, 0.6),
    "RML": (-1, 0.32, 0.6, 0.82, 1.12),
    "RLL": (-1, 0.4, 0.78, 0.95, 1.35),
    "LUL": (1, 0.35, 0.68, 0.25, 0.68),
    "LING": (1, 0.52, 0.74, 0.8, 1.12),
    "LLL": (1, 0.4, 0.8, 1.0, 1.36),
}


def sample_pneumonia(rng: np.random.Generator) -> Pneumonia:
    """Sample the pneumonia of a patient: two of three are lobar."""
    cause = BACTERIA if rng.random() < 0.65 else VIRUS
    count = 0 if cause == VIRUS else 1 + int(rng.random() < 0.3)
    lobes = rng.choice(list(_LOBES), size=count, replace=False)
    foci = tuple(_sample_focus(rng, str(lobe)) for lobe in lobes)
    centre = (rng.uniform(0.5, 1.1), rng.uniform(0.5, 1.1))
    return Pneumonia(cause, foci, centre, int(rng.integers(2**31)))


def _sample_focus(rng: np.random.Generator, lobe: str) -> Focus:
    side, near, far, top, bottom = _LOBES[lobe]
    centre = (side * rng.uniform(near, far), rng.uniform(top, bottom))
    return Focus(lobe, centre, (rng.uniform(0.32, 0.48), rng.uniform(0.3, 0.44)))


def sample_severity(rng: np.random.Generator) -> float:
    """Sample the severity on one film, from 0.6 (clearly visible) to 1 (most severe)."""
    return float(rng.uniform(0.6, 1.0))


def infiltrate(pneumonia: Pneumonia, severity: float, canvas: Canvas, lung: Plane) -> tuple[Plane, Plane]:
    """Return the effect of the disease on the lung of one film.

    Args:
        pneumonia: The disease of the patient.
        severity: 0 to 1, see `sample_severity`.
        canvas: The plane of the film.
        lung: Path through aerated lung, float32 (height, width).

    Returns:
        Two planes (height, width): the share of the lung's air that is gone (to 1; a little below 0 where the lung is
        blown up instead), and the extra path of thickened tissue in chest units. Both are 0 where there is no lung.
    """
    rng = np.random.default_rng(np.random.SeedSequence([pneumonia.texture_seed, 0]))
    present = np.minimum(lung * 6, 1)
    filled, tissue = (
        _consolidation(rng, pneumonia, severity, canvas)
        if pneumonia.foci
        else _interstitial(rng, pneumonia, severity, canvas)
    )
    return filled * present, tissue * present


def _consolidation(
    rng: np.random.Generator, pneumonia: Pneumonia, severity: float, canvas: Canvas
) -> tuple[Plane, Plane]:
    ragged = canvas.texture(rng, 0.16)
    patchy = canvas.texture(rng, 0.055)
    filled = np.zeros_like(canvas.x)
    for focus in pneumonia.foci:
        side = _LOBES[focus.lobe][0]
        x = (canvas.x - focus.centre[0]) / focus.radii[0]
        y = (canvas.y - focus.centre[1]) / focus.radii[1]
        reach = np.sqrt(x * x + y * y) + 0.16 * ragged
        cloud = step(0.98 - reach, 0.75) * _lobe(focus.lobe, canvas)
        bronchi = draw_branches(
            canvas, grow_tree(rng, (side * 0.27, 0.62), side=side, stems=7, width=0.02, order=3)
        )
        solid = np.clip(0.86 + 0.13 * patchy, 0, 1) - 0.34 * np.minimum(2 * bronchi, 1)
        filled = np.maximum(filled, cloud * np.maximum(solid, 0))
    filled *= 0.76 + 0.24 * severity
    return filled - _TRAPPED * (1 - np.minimum(2 * filled, 1)), np.zeros_like(filled)


def _lobe(name: str, canvas: Canvas) -> Plane:
    """Return how much of the lung's depth belongs to a lobe, 0 to 1 per pixel; fissures seen edge-on are sharp."""
    fissure = 0.7 + 0.07 * (canvas.r - 0.5) ** 2
    above, own_side = step(fissure - canvas.y, 0.02), step(canvas.x * _LOBES[name][0], 0.05)
    if name == "RUL":
        return own_side * above
    if name in {"RML", "LING"}:
        return own_side * (1 - above) * step(1.36 - canvas.y, 0.2)
    if name == "LUL":
        return own_side * step(0.98 - canvas.y, 0.3)
    return own_side * step(canvas.y - 0.72, 0.3)


def _interstitial(
    rng: np.random.Generator, pneumonia: Pneumonia, severity: float, canvas: Canvas
) -> tuple[Plane, Plane]:
    weight, streaks = np.zeros_like(canvas.x), np.zeros_like(canvas.x)
    for side, centre in zip((-1, 1), pneumonia.centre, strict=True):
        x, y = canvas.x - (side * 0.42), canvas.y - centre
        weight += spot(x / 0.42, y / 0.55)
        for _ in range(2):
            streaks += draw_branches(
                canvas, grow_tree(rng, (side * 0.24, 0.6), side=side, stems=8, width=0.034)
            )
    weight = 0.3 + 0.7 * np.minimum(weight, 1)
    net = _net(canvas.texture(rng, 0.085)) + _net(canvas.texture(rng, 0.055))
    haze = np.clip(0.1 + 0.14 * canvas.texture(rng, 0.18), 0, 0.45)
    tissue = 0.26 * np.minimum(streaks, 1.4) + 0.16 * net
    strong = severity * weight
    return strong * haze - 3 * _TRAPPED, strong * tissue


def _net(noise: Plane) -> Plane:
    """Return thin bright lines where smooth noise changes its sign, 0 to 1."""
    return np.maximum(1 - np.abs(noise) / 0.32, 0)
