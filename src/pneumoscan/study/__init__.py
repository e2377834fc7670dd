"""Studies: comparisons of variants with a baseline, as resumable trials, with a report from the records alone.

plan.py           sections and variants, with their reasons and expectations
trials.py         the trainings that a plan needs, their order, and confirmations with more seeds
trial.py          one trial: a function of (configuration, films), resumable in its folder
evaluation.py     the films of a study, with one hold-out for all trials; evaluation of a network on the held-out ones, also in the stress test
trial_records.py  the folder of a study: what all trials share, and the record of each
launchers.py      where trials run: in this process, in several processes, or on a cluster
execute.py        the whole study, from the plan to the last record; forecast.py: how long it will take
differences.py    differences to the baseline, their intervals, and the conclusion; early stopping
results.py        all results, read from the records, and tables of them for other programs
report.py         page and graphs from them
"""
