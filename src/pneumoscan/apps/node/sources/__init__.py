"""What finds new objects in the PACS: QIDO-RS by date for every PACS, Orthanc's list of changes for Orthanc."""
