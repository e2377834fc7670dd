"""What is stored beside a film: a structured report for machines and a picture for people, in the order of the modules.

`finding` is what goes in and what comes out, with its UIDs; `objects` is what both DICOM objects share, `report` and `picture` make
them, `making` does all of it; `fhir` and `hl7` say the same for systems that take no DICOM. What results carry of their film comes from
`node.header`.
"""

from pneumoscan.node.results.fhir import fhir_bundle, fhir_transaction, write_fhir
from pneumoscan.node.results.finding import (
    Finding,
    ResultObject,
    ResultUids,
    Writer,
    result_uids,
)
from pneumoscan.node.results.hl7 import message_id, oru_message
from pneumoscan.node.results.making import make_results

__all__ = [
    "Finding",
    "ResultObject",
    "ResultUids",
    "Writer",
    "fhir_bundle",
    "fhir_transaction",
    "make_results",
    "message_id",
    "oru_message",
    "result_uids",
    "write_fhir",
]
