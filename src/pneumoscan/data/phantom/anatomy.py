"""A child's chest as path lengths of the beam through soft tissue, air, lung and bone."""

from dataclasses import dataclass

import numpy as np

from pneumoscan.data.phantom.bones import project_bones
from pneumoscan.data.phantom.canvas import Canvas, Plane
from pneumoscan.data.phantom.patient import Patient, Pose
from pneumoscan.data.phantom.tissue import cage_half_width, project_lungs, project_tissue, project_vessels


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
