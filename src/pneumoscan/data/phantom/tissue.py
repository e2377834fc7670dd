"""The soft parts of the chest as path lengths: body, lungs, heart, airway, bowel gas and lung vessels."""

import math

import numpy as np

from pneumoscan.data.phantom.branches import draw_branches, grow_tree
from pneumoscan.data.phantom.canvas import Canvas, Plane, capsule, chord, hump, profile, radius, spot, step
from pneumoscan.data.phantom.patient import Patient, Pose, texture_stream


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
