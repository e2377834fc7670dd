"""DICOM radiographs: from the bytes of a file to grey pixels.

The modules in their order: `elements` finds the few header values that are needed and skips all others; `file` opens the
file up to its pixel data; `admission` decides whether it is a chest film; `layout` describes its pixels; `frames` decodes
them, compressed ones with `codecs` after `codestream` has checked them; `grey` computes the grey levels that a workstation displays. No
header value appears in an error or a log.

The header is not read with pydicom, for three reasons. pydicom reports problems through `warnings`, whose filters belong to
the process and not to a thread. It has no limits for inflating and nesting. And it parses the name of the patient.
"""

from pneumoscan.imaging.dicom.film import DicomFilm, open_film

__all__ = ["DicomFilm", "open_film"]
