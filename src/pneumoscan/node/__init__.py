"""The node beside the PACS: new chest radiographs come in, a report and a picture lie beside each, exactly once.

    PACS ──QIDO, /changes──► find ────┐                             ┌─► results: report, picture, FHIR
    modality ──C-STORE─────► receive ─┴─► queue ──► work ──► steps ─┤
                                          (SQLite or PostgreSQL)    └─► pacs ──STOW──► PACS

In reading order:

    settings     what can be set in node.toml, with defaults and ranges; `config` reads and checks it
    header       what is taken from an object's header
    queue        one table; a row for every object that was found, whatever became of it
    client       HTTP to the PACS, and waiting for it
    pacs         DICOMweb on it: search, fetch, store
    exams        the rules: which exams are read
    find         searches again and again: QIDO-RS over a window of days, or Orthanc's list of changes
    receive      films by DICOM's C-STORE
    spool        the files of objects being worked on
    work         claims rows and brings them to their ends, many at once
    steps        found → fetched → made → stored → done: what is done for one film in each state
    reader       the model, and the process that reads films with it
    results      makes the report, the picture and the FHIR file
    watch        weeks, drift, agreement with diagnoses, metrics
    audit        what was done, in lines that are chained by hashes; `desk`: what readers say of the answers, in such lines too
    run          the process in which all of this runs; `status` tells how it stands, and whether it would work

A row is committed before anything that depends on it is done, and every step can be done again: whatever dies in between,
the next process goes on from the last state.
"""
