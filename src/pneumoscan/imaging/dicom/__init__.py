"""DICOM radiographs: from the bytes of a file to grey pixels, in the order of the modules.

`elements` finds the few header values that are needed and steps over all others; `file` opens the file up to its pixel
data; `admission` says whether it is a chest film at all; `layout` says how its pixels lie; `frames` decodes them, with
`codestream` looking at compressed pictures first; `grey` paints them as a workstation would. No header value ever gets
into an error or a log.

The header is not read with pydicom, for three reasons: it reports trouble through `warnings`, whose filters belong to the
whole process and not to a thread; it inflates and nests without bounds; and it parses what a film's patient is called.
pydicom's decoders are the way to the codecs, imported when a film needs one.
"""

from pneumoscan.imaging.dicom.film import DicomFilm, open_film

__all__ = ["DicomFilm", "open_film"]
