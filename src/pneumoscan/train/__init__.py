"""From a manifest of films to a bundle: `run`, then `loop`, then `export`.

run.py         the films, their hold-out, the run folder
loop.py        the training loop
export.py      the trained network as a bundle
config.py      the settings, with the presets in `presets/`
films.py       what the loop is given: films, the films of an epoch, the task
augment/       random changes of the films
backend.py     processes, threads, device, precision, interruptions
checkpoint.py  the state of a training, from which it resumes exactly
readme.py      the model card in the bundle
outliner.py    what the cache keeps for the two networks of the lungs, and the outliner that a run wrote
detector.py    fits the out-of-distribution detector
"""
