"""What is stored beside a film: a structured report for machines and a picture for people, in the order of the modules.

`finding` is what goes in and what comes out; `source` takes from the film what a result has to carry, and nothing more;
`uids` names the objects; `codes` and `report` make the report, `picture` and `capture` the picture; `writing` gives both
their patient, study, times and bytes; `making` does all of it. `own` tells results from films when they come
back; `fhir` says the same as JSON for systems that take no DICOM.
"""

from pneumoscan.apps.node.results.fhir import fhir_bundle, write_fhir
from pneumoscan.apps.node.results.finding import Finding, ResultObject, ResultUids, Writer
from pneumoscan.apps.node.results.making import make_results
from pneumoscan.apps.node.results.own import is_own_result
from pneumoscan.apps.node.results.source import pixels_sha256_of
from pneumoscan.apps.node.results.uids import result_uids

__all__ = [
    "Finding",
    "ResultObject",
    "ResultUids",
    "Writer",
    "fhir_bundle",
    "is_own_result",
    "make_results",
    "pixels_sha256_of",
    "result_uids",
    "write_fhir",
]
