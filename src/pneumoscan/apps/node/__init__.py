"""The node beside the PACS: new chest radiographs come in, a report and a picture lie beside each, exactly once.

    PACS ──QIDO, /changes──► sources ─┐                       ┌─► results: report and picture
    modality ──C-STORE─────► receive ─┴─► queue ──► work ─────┤
                                          (SQLite or PostgreSQL) └─► store ──STOW──► PACS

    config     node.toml, and what is legal in it
    header     what is looked at of an object's header
    queue      one table; a row for every object that was found, whatever became of it
    sources    what finds objects: QIDO-RS in pages over a window of days, Orthanc's list of changes
    pacs       DICOMweb: search, fetch, store
    receive    DICOM's C-STORE
    spool      the files of objects under way
    work       takes a row through its states: found → fetched → made → stored → done
    results    makes the report and the picture
    audit      what was done, in lines that are chained by hashes

A row is committed before anything that depends on it is done, and every step can be done again: whatever dies in between,
the next process goes on from the last state.
"""
