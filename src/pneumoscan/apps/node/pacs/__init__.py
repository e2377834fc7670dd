"""The PACS: HTTP (`connection`), DICOMweb on it (`dicomweb`, `multipart`), results into it (`store`), and waiting for it (`backoff`)."""

from pneumoscan.apps.node.pacs.dicomweb import Pacs, header_of

__all__ = ["Pacs", "header_of"]
