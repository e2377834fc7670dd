"""A study: one baseline, small changes of it in sections, every trial resumable, and a report made from the records alone.

plan.py      what is asked: sections, variants, why and what is expected
trials.py    which trainings that needs, in which order, and which are confirmed with more seeds
films.py     the films of a study, the same hold-out for every trial
trial.py     one trial: a plain function of (config, films), resumable in its folder
evaluation.py what a trained network is worth on the held-out films, as they are and seen differently
records.py   what is kept of a trial, and of the study
launchers.py where trials run: here, in several processes, or on a cluster
execute.py   the whole study, from the plan to the last record
compare.py   differences to the baseline, their intervals, and the verdict in words
report.py    the page, the figures and the two tables, from the records
"""
