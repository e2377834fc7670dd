"""The bones of the chest as extra attenuation, in units of water times chest units."""

import numpy as np

from pneumoscan.data.phantom.canvas import Canvas, Plane, capsule, chord, hump, radius, spot, step, tube
from pneumoscan.data.phantom.patient import Patient, Pose
from pneumoscan.data.phantom.tissue import arm_axis


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
