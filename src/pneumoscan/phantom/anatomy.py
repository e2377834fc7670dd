"""A child's chest as path lengths of the beam through soft tissue, air, lung and bone."""

import math
from dataclasses import dataclass

import numpy as np

from pneumoscan.phantom.canvas import (
    Canvas,
    Plane,
    capsule,
    chord,
    draw_branches,
    grow_tree,
    hump,
    profile,
    radius,
    spot,
    step,
    tube,
)
from pneumoscan.phantom.patient import Patient, Pose, texture_stream


@dataclass(frozen=True)
class Chest:
    """The healthy chest on one canvas; float32 planes (height, width) of path lengths in chest units.

    Attributes:
        soft: Water-like tissue, as if the lungs were solid.
        bone: Extra attenuation of bone, in units of water.
        lung: Path through aerated lung, without heart and mediastinum.
        density: Density of the healthy lung relative to water.
        vessels: Extra path of vessels in the lung.
    """

    soft: Plane
    bone: Plane
    lung: Plane
    density: float
    vessels: Plane

    def attenuation(self) -> Plane:
        """Return the line integral of the healthy chest, in units of water."""
        inside = self.lung * (1 - self.density)
        total: Plane = self.soft - inside + self.bone + self.vessels
        return np.maximum(total, 0)


def build_chest(patient: Patient, pose: Pose, canvas: Canvas) -> Chest:
    """Project the healthy chest of a patient onto a canvas."""
    cage = cage_half_width(patient, canvas)
    lung = project_lungs(patient, pose, canvas, cage)
    return Chest(
        soft=project_tissue(patient, pose, canvas, cage),
        bone=project_bones(patient, pose, canvas, cage),
        lung=lung,
        density=patient.aeration * pose.aeration,
        vessels=project_vessels(patient, canvas, lung),
    )


# Soft parts: body, lungs, heart, airway, bowel gas and lung vessels


def project_tissue(patient: Patient, pose: Pose, canvas: Canvas, cage: Plane) -> Plane:
    """Return the path (height, width) through water-like tissue as if the lungs were solid."""
    soft = _body(patient, canvas, cage) + _veil(pose, canvas)
    fat = 0.02 * canvas.texture(texture_stream(patient, 0), 0.22)
    fat += 0.012 * canvas.texture(texture_stream(patient, 1), 0.07)
    soft += fat * np.minimum(soft, 1)
    return np.maximum(soft - _airway(pose, canvas) - _bowel_gas(patient, pose, canvas), 0)


def cage_half_width(patient: Patient, canvas: Canvas) -> Plane:
    """Return the inner half-width (height, 1) of the rib cage, at least 1e-3."""
    fall = np.clip((1.6 - canvas.y) / 1.65, 0, 1) ** 2.9
    width = patient.broad * np.maximum(1 - fall, 0) ** patient.upper
    below = 1 - 0.05 * np.maximum(canvas.y - 1.7, 0)
    half: Plane = np.maximum(width * below, 1e-3)
    return half


def project_lungs(patient: Patient, pose: Pose, canvas: Canvas, cage: Plane) -> Plane:
    """Return the path (height, width) through aerated lung, without heart and mediastinum."""
    depth = 0.74 * patient.depth
    across = canvas.r / (cage * 0.985)
    path = depth * np.sqrt(np.maximum(1 - across * across * across, 0))
    path *= step(canvas.y - 0.02, 0.22) * 0.3 + 0.7
    below = _diaphragm(patient, pose, canvas)
    # The posterior recess of the lung reaches below the dome, so part of it is visible through the liver.
    recess = 0.16 * np.exp(-np.maximum(below, 0) / 0.12)
    path *= 1 - step(below, 2.2 * canvas.pitch) * (1 - recess)
    aerated: Plane = path * _beside_mediastinum(patient, pose, canvas) - _heart(patient, pose, canvas)
    return np.maximum(aerated, 0)


def _diaphragm(patient: Patient, pose: Pose, canvas: Canvas) -> Plane:
    """Return how far (height, width) each pixel lies below the domes of the diaphragm, in chest units."""
    top = patient.dome + pose.breath
    left_side = step(canvas.x, 0.1)
    peak = 0.42 + 0.06 * left_side
    off = (canvas.r - peak) / patient.broad
    fall = np.where(off > 0, np.float32(0.95), np.float32(0.32)) * off * off
    below: Plane = canvas.y - (top + patient.dome_step * left_side + fall)
    return below


def _beside_mediastinum(patient: Patient, pose: Pose, canvas: Canvas) -> Plane:
    """Return 1 in the lung fields and 0 in the mediastinum, per pixel."""
    x = canvas.x - (pose.turn * 0.6)
    sail = patient.thymus * hump((canvas.y - 0.36) / 0.24)
    right = 0.17 + sail * 0.7
    left = 0.16 + sail
    edge = np.where(x < 0, -x - right, x - left)
    return step(edge, 0.035)


def _heart(patient: Patient, pose: Pose, canvas: Canvas) -> Plane:
    size = patient.heart
    left = profile(
        canvas,
        (
            (0.05, 0.1),
            (0.22, 0.17),
            (0.34, 0.24),
            (0.5, 0.22),
            (0.68, 0.31),
            (0.95, 0.5),
            (1.2, 0.64),
            (1.42, 0.62),
            (1.7, 0.4),
        ),
    )
    right = profile(canvas, ((0.05, 0.1), (0.5, 0.17), (0.75, 0.25), (1.05, 0.31), (1.35, 0.27), (1.7, 0.2)))
    centre = (left - right) * (size / 2) + (patient.heart_shift + pose.turn)
    half = (left + right) * (size / 2)
    path = chord((canvas.x - centre) / half)
    return 0.33 * patient.depth * (path + np.sqrt(path)) * step(canvas.y - 0.2, 0.3)


def _body(patient: Patient, canvas: Canvas, cage: Plane) -> Plane:
    trunk = cage + patient.wall
    shoulder = profile(
        canvas,
        ((-0.5, 0.3), (-0.36, 0.42), (-0.26, 0.72), (-0.1, 1.06), (0.15, 1.16), (0.5, 1.0), (0.8, 0.6)),
    )
    half = np.maximum(trunk * step(canvas.y - 0.1, 0.6), shoulder)
    depth = profile(
        canvas, ((-0.5, 0.75), (-0.1, 0.88), (0.3, 0.98), (0.9, 1.0), (1.8, 1.02), (3.0, 0.97)), 0.3
    )
    across = np.minimum(canvas.r / half, 1)
    torso = patient.depth * depth * np.sqrt(1 - across * across * across)
    head = 1.15 * chord(radius(canvas.x / 0.62, (canvas.y + 1.12) / 0.62))
    parts = torso * torso * torso + head * head * head
    for side, angle in zip((-1, 1), patient.arm, strict=True):
        distance = capsule(canvas, *arm_axis(side, angle)) / patient.arm_radius
        arm = (2 * patient.arm_radius) * chord(distance)
        parts += arm * arm * arm
    union: Plane = np.cbrt(parts)
    return union


def arm_axis(side: int, angle: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return where the upper arm of a side (-1 or +1) begins and ends, its angle in radians, positive downwards."""
    start = (side * 1.08, 0.1)
    return start, (start[0] + side * 2.4 * math.cos(angle), start[1] + 2.4 * math.sin(angle))


def _veil(pose: Pose, canvas: Canvas) -> Plane:
    veil = np.zeros_like(canvas.x)
    for side, (thick, centre) in zip((-1, 1), zip(pose.veil, pose.veil_centre, strict=True), strict=True):
        veil += thick * spot(
            (canvas.x - (side * 0.62)) / 0.5,
            (canvas.y - centre) / 0.45,
        )
    return veil


def _airway(pose: Pose, canvas: Canvas) -> Plane:
    middle = -0.02 + 0.7 * pose.turn
    carina = 0.46
    trachea = chord((canvas.x - middle) / 0.065) * step(carina - canvas.y, 0.1)
    trachea *= step(canvas.y + 1.0, 0.3)
    bronchi = np.zeros_like(trachea)
    for side, drop in ((-1, 0.24), (1, 0.18)):
        path = capsule(canvas, (float(middle), carina - 0.03), (float(middle) + side * 0.25, carina + drop))
        bronchi = np.maximum(bronchi, chord(path / 0.042))
    return np.maximum(0.22 * trachea, 0.12 * bronchi)


def _bowel_gas(patient: Patient, pose: Pose, canvas: Canvas) -> Plane:
    rng = texture_stream(patient, 2)
    gas = np.zeros_like(canvas.x)
    if rng.random() < 0.65:
        centre = (rng.uniform(0.3, 0.6), patient.dome + pose.breath + rng.uniform(0.26, 0.4))
        gas += _bubble(
            canvas, centre, (rng.uniform(0.14, 0.3), rng.uniform(0.09, 0.17)), rng.uniform(0.15, 0.4)
        )
    for _ in range(int(rng.integers(0, 6))):
        centre = (rng.uniform(-0.6, 0.8), rng.uniform(1.95, 2.6))
        gas += _bubble(
            canvas, centre, (rng.uniform(0.08, 0.2), rng.uniform(0.06, 0.12)), rng.uniform(0.1, 0.3)
        )
    return gas * step(_diaphragm(patient, pose, canvas) - 0.03, 0.06)


def _bubble(canvas: Canvas, centre: tuple[float, float], radii: tuple[float, float], thick: float) -> Plane:
    x, y = (
        (canvas.x - centre[0]) / radii[0],
        (canvas.y - centre[1]) / radii[1],
    )
    return thick * chord(radius(x, y))


def project_vessels(patient: Patient, canvas: Canvas, lung: Plane) -> Plane:
    """Return the path (height, width) that the vessels of the lungs add, at the hila most."""
    rng = texture_stream(patient, 3)
    tree = np.zeros_like(lung)
    hila = np.zeros_like(lung)
    for side in (-1, 1):
        root = (side * 0.27, 0.6 - 0.03 * side)
        tree += draw_branches(canvas, grow_tree(rng, root, side=side, stems=7, width=0.034))
        hila += spot((canvas.x - root[0]) / 0.11, (canvas.y - root[1]) / 0.2)
    grain = 0.006 * canvas.texture(rng, 0.045)
    share = np.minimum(lung * 4, 1)
    path: Plane = patient.vessels * share * (0.1 * tree + 0.1 * hila + grain)
    return path


# Bones: extra attenuation in units of water times chest units


def project_bones(patient: Patient, pose: Pose, canvas: Canvas, cage: Plane) -> Plane:
    """Return the attenuation (height, width) of all bones; `cage` is the rib cage's half-width (height, 1)."""
    trunk = _ribs(patient, pose, canvas, cage) + _spine(patient, canvas)
    return (
        trunk + _shoulder_girdle(patient, pose, canvas) + _arm_bones(patient, canvas) + _jaw(patient, canvas)
    )


def _ribs(patient: Patient, pose: Pose, canvas: Canvas, cage: Plane) -> Plane:
    """Ribs are tilted rings on the cage: the hind half near the spine high, the front half lower and paler."""
    q = np.clip((canvas.r + pose.turn * 0.2 * np.sign(canvas.x)) / cage, 0, 1)
    level = np.sqrt(1 - q * q)
    # Seen along its own flat side, at the edge of the chest, a rib absorbs several times as much.
    grazing = 1 / np.maximum(level, 0.2)
    inside = step(cage * 1.015 - canvas.r, 0.03)
    wobble = 0.12 * np.sin(canvas.y * 3.1 + canvas.x * 2.3 + patient.bend[2])
    tilt, spacing = patient.rib_tilt / 2, patient.rib_step
    rise = 0.05 * hump((canvas.r - 0.25) / 0.2)
    hind = (canvas.y - patient.rib_start - tilt * (1 - level) + rise) / spacing + wobble
    front = (canvas.y - patient.rib_start - tilt * (1 + 0.8 * level)) / spacing + wobble
    back = _band(hind, patient.rib_width, 12) * step(canvas.r - 0.12, 0.06) * grazing
    ends = 0.34 + 0.035 * np.maximum(front, 0)
    fore = _band(front, patient.rib_width * 1.15, 8) * step(q - ends, 0.25) * np.minimum(grazing, 1.6)
    strength = patient.rib_density
    # Over the liver, scatter of the thick abdomen hides the lower ribs.
    above = 1 - 0.65 * step(canvas.y - 1.62, 0.6)
    return strength * inside * above * (0.17 * back + 0.09 * fore)


def _band(phase: Plane, half: float, count: int) -> Plane:
    """Return the hollow-bone profile of bands, one for each whole number of `phase` from 0 to `count`."""
    across = phase - np.floor(phase) - 0.5
    part = across / half
    shell = step(1 - np.abs(part), 0.5) * (0.4 + 0.3 * part * part + 0.12 * part)
    return shell * ((phase > 0) & (phase < count))


def _spine(patient: Patient, canvas: Canvas) -> Plane:
    phase = (canvas.y - patient.rib_start) / patient.rib_step
    level = phase - np.floor(phase) - 0.5
    half = 0.125 + 0.012 * canvas.y + 0.06 * level * level
    across = np.clip(canvas.x / half, -2, 2)
    column = step(1 - np.abs(across), 0.28) * (0.8 + 0.2 * across * across)
    disc = step(np.abs(level + 0.07 * across * across) - 0.4, 0.1)
    body = column * (0.21 - 0.1 * disc)
    plates = 0.05 * column * hump((np.abs(level) - 0.37) / 0.05)
    y_out = level + 0.12
    pedicles = 0.09 * spot((canvas.r - 0.088) / 0.026, y_out / 0.15)
    process = 0.12 * spot(canvas.x / 0.024, (level - 0.2) / 0.22)
    transverse = 0.1 * hump(y_out / 0.16) * step(0.21 - canvas.r, 0.08)
    fade = step(canvas.y + 1.0, 0.5)
    spine: Plane = fade * (body + plates + pedicles + process + transverse)
    return spine


def _shoulder_girdle(patient: Patient, pose: Pose, canvas: Canvas) -> Plane:
    inner, rise, bow = patient.clavicle
    start = 0.12 + pose.turn * np.sign(canvas.x)
    t = (canvas.r - start) / 0.72
    curve = inner - rise * t - bow * np.sin(5.6 * t)
    thick = 0.03 + 0.024 * hump(t / 0.16) + 0.012 * hump((t - 1) / 0.2)
    within = step(t, 0.05) * step(1 - t, 0.06)
    bone = (0.5 - 0.16 * np.clip(t, 0, 1)) * tube((canvas.y - curve) / thick) * within
    for side in (-1, 1):
        edge = capsule(canvas, (side * 1.1, -0.02), (side * 0.99, 0.62))
        bone += 0.11 * hump(edge / 0.028)
        blade = capsule(canvas, (side * 0.95, 0.0), (side * 0.98, 0.5))
        bone += 0.07 * step(0.17 - blade, 0.14)
    return bone


def _arm_bones(patient: Patient, canvas: Canvas) -> Plane:
    bone = np.zeros_like(canvas.x)
    for side, angle in zip((-1, 1), patient.arm, strict=True):
        start, end = arm_axis(side, angle)
        axis = capsule(
            canvas, (start[0] + 0.12 * (end[0] - start[0]), start[1] + 0.12 * (end[1] - start[1])), end
        )
        bone += 0.34 * tube(axis / 0.09, 0.7)
        head = radius(
            canvas.x - (start[0] + 0.09 * (end[0] - start[0])),
            canvas.y - (start[1] + 0.09 * (end[1] - start[1])),
        )
        bone += 0.22 * chord(head / 0.14)
    return bone


def _jaw(patient: Patient, canvas: Canvas) -> Plane:
    if canvas.top > -0.4:
        return np.zeros_like(canvas.x)
    y = canvas.y + 1.05
    ring = radius(canvas.x / 0.46, y / 0.44)
    return 0.5 * patient.rib_density * (hump((ring - 1) / 0.12) + 0.5 * step(1 - ring, 0.2))
