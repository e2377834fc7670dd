"""The node beside the PACS: new chest radiographs come in, a report and a picture lie beside each, exactly once.

    PACS ──QIDO, /changes──► sources ─┐                       ┌─► results: report and picture
    modality ──C-STORE─────► receive ─┴─► queue ──► work ─────┤
                                          (SQLite or PostgreSQL) └─► pacs ──STOW──► PACS

    config     node.toml: its tables, what is legal in them, and where secrets lie
    header     what is looked at of an object's header
    queue      one table; a row for every object that was found, whatever became of it
    sources    what finds objects: QIDO-RS in pages over a window of days, Orthanc's list of changes
    find       looks again and again
    receive    DICOM's C-STORE
    pacs       DICOMweb: search, fetch, store
    spool      the files of objects under way
    work       takes rows through their states: found → fetched → made → stored → done
    results    makes the report and the picture
    watch      weeks, drift, agreement with diagnoses, metrics
    audit      what was done, in lines that are chained by hashes
    run        the process in which all of this runs; status and check tell how it stands

A row is committed before anything that depends on it is done, and every step can be done again: whatever dies in between,
the next process goes on from the last state.
"""
